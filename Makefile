# Gatehouse. `make` alone prints what there is.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# The vision programs link OpenCV's C++ libraries through GoCV. Naming just the
# needed ones (GoCV's build tag customenv) spares the contrib modules and 90
# Debian packages. The other programs are pure Go and static.
OPENCV := CGO_ENABLED=1 CGO_CXXFLAGS="--std=c++11 -O2" CGO_CPPFLAGS="-I/usr/include/opencv4" \
	CGO_LDFLAGS="$(addprefix -lopencv_,core imgproc imgcodecs videoio highgui objdetect calib3d features2d video photo dnn)"
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
GO      := go
PURE    := CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)"
MODELS  := models

# Where the vision worker or the model set-up is not in the tree, what needs it
# is left out.
VISION  := $(wildcard vision/worker/main.go)
SETUP   := $(wildcard vision/models/setup/main.go)

# Packages with GoCV among their dependencies, and the rest.
with_gocv = $(GO) list -tags=customenv -f '{{.ImportPath}} {{.Deps}} {{.TestImports}} {{.XTestImports}}' ./... | grep    ' gocv.io/x/gocv\|\[gocv.io/x/gocv' | cut -d' ' -f1
pure_go   = $(GO) list -tags=customenv -f '{{.ImportPath}} {{.Deps}} {{.TestImports}} {{.XTestImports}}' ./... | grep -v ' gocv.io/x/gocv\|\[gocv.io/x/gocv' | cut -d' ' -f1

.PHONY: help run test bench soak backends build deps models fuzz lint cross clean crash

help: ## print this list
	@echo "Gatehouse: make TARGET"
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  run takes CAMERA=<picture directory, video file, /dev/videoN or rtsp:// URL> and ONCE=1 (one pass, then a table)"

deps: ## install the Debian packages that are missing (root or sudo)
	@packaging/deps.sh

models: deps ## fetch, verify and convert the model files (no-op when there)
	@$(if $(SETUP),$(GO) run ./vision/models/setup --dir $(MODELS),echo "models: nothing to fetch yet")

build: deps ## build the four programs into bin/
	@mkdir -p bin
	@[ -x bin/gatehouse ] || echo "build: compiling (the first time this takes a minute or two)"
	@$(PURE) -o bin/gatehouse ./agent
	@$(PURE) -o bin/gatehouse-rescue ./firmware/rescue
	@$(PURE) -o bin/gatehouse-cloud ./sync/cloud
	@$(if $(VISION),$(OPENCV) $(GO) build -trimpath -tags=customenv -ldflags "$(LDFLAGS)" -o bin/gatehouse-vision ./vision/worker)

run: build models ## run the whole loop: cloud, board, pictures, a barrier that opens
	@bin/gatehouse demo --dir .run $(if $(CAMERA),--camera "$(CAMERA)") $(if $(ONCE),--once)

test: build models ## run all tests, the race detector on for the pure Go part
	@echo "test: pure Go packages, with the race detector"
	@CGO_ENABLED=1 $(GO) test -race -timeout 15m $$($(pure_go))
	@$(if $(VISION),echo "test: packages with OpenCV"; $(OPENCV) $(GO) test -tags=customenv -timeout 15m $$($(with_gocv)))
	@$(TRAINING)

# Training is no part of the boards' build; its tests run where there is what
# they need (vision/plate/train/reader.md), in the first Python or Debian's.
TRAINING = cd vision/plate/train && for p in python3 /usr/bin/python3; do \
		PYTHONDONTWRITEBYTECODE=1 $$p -c 'import glyphs, onnx, torch; glyphs.Faces()' 2>/dev/null || continue; \
		echo "test: the training code, in Python"; PYTHONDONTWRITEBYTECODE=1 $$p -m unittest -q; exit; \
	done; echo "test: the training code is left out: no Python here has PyTorch, OpenCV, ONNX, Pillow and the typefaces (vision/plate/train/reader.md)"

bench: build models ## run the benchmarks of the hot paths, and of the backends where make backends has been run
	@$(if $(SETUP),$(GO) run ./vision/models/setup --dir $(MODELS) --bench)
	@$(GO) test -run '^$$' -bench . -benchmem $$($(pure_go)) | grep -v '^ok\|no test files\|^PASS'
	@$(if $(VISION),$(OPENCV) $(GO) test -tags=customenv -run '^$$' -bench . -benchmem $$($(with_gocv)) | grep -v '^ok\|no test files\|^PASS')
	@$(if $(wildcard $(ORT)),$(BACKENDS),echo "bench: ONNX Runtime is not here to compare with; make backends fetches it")

ORT := $(MODELS)/libonnxruntime.so.1
$(ORT):
	@echo "backends: fetching onnxruntime-node@1.24.3 (82 MiB) for its library"
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && npm pack --ignore-scripts --silent --pack-destination "$$dir" onnxruntime-node@1.24.3 >/dev/null && \
		tar xzf "$$dir"/*.tgz -C "$$dir" package/bin/napi-v6/linux/x64/libonnxruntime.so.1 && \
		echo "92ba8e44d31b80a34f5e805076a044122c3be1fffe0d88ed790de7267b0b2682  $$dir/package/bin/napi-v6/linux/x64/libonnxruntime.so.1" | sha256sum --check --quiet && \
		cp "$$dir"/package/bin/napi-v6/linux/x64/libonnxruntime.so.1 $(ORT).part && mv $(ORT).part $(ORT)

BACKENDS = ONNXRUNTIME=$(abspath $(ORT)) $(OPENCV) $(GO) test -tags=customenv,onnxruntime -run '^$$' -bench Backends ./vision/nn | grep -v '^ok\|^PASS'
backends: build models $(ORT) ## compare each net in OpenCV with ONNX Runtime (x86-64; fetches its library)
	@$(BACKENDS)

soak: build models ## half an hour with a camera that misbehaves (SHORT=1: a minute and a half; SOAK_CAMERA=rtsp)
	@SOAK="$(if $(SHORT),600 frames 90s,20000 frames 30m)" $(OPENCV) $(GO) test -tags=customenv -count=1 -timeout 3h -v -run '^TestSoak$$' ./vision/worker | awk '/^(ok|PASS|=== |--- PASS)/ {next} /^(FAIL|--- FAIL|panic:)/ {bad=1} {print} END {exit bad}'
crash: build ## kill and damage the real agent in every way (about an hour; SHORT=1: a minute), with tables
	@$(if $(SHORT),,CRASH=long) $(GO) test -count=1 -v -timeout 12h $(if $(RUN),-run $(RUN)) ./agent/crash

fuzz: ## run every fuzz target for a while (FUZZTIME=10m; RUN=pattern)
	@$(OPENCV) packaging/fuzz.sh

lint: deps ## gofmt, go vet, staticcheck, and govulncheck where its database can be reached
	@packaging/lint.sh

cross: ## build the board's programs for 64-bit and 32-bit Arm
	@for arch in arm64 arm; do for program in agent firmware/rescue; do \
		echo "cross: linux/$$arch $$program"; \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/linux-$$arch/ ./$$program || exit 1; \
	done; done

clean: ## remove what was built, fetched and recorded here
	@rm -rf bin $(MODELS) .run
