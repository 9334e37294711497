package configs

import _ "embed"

// ModelsJSON is the model catalogue: where each model file comes from, under
// which licence, and the SHA-256 that it must have (package vision/models).
//
//go:embed models.json
var ModelsJSON []byte
