package motion

import (
	"image"
	"math"
	"time"

	"gatehouse/vision/link"
)

// ground is the picture without what moves, with each pixel's usual noise.
type ground struct {
	size      image.Point
	mean      []float32
	noise     []float32
	mask      []bool // pixels of the region
	level     float32
	blocks    image.Point
	room      []int // pixels of the region in each block
	changed   []int // and how many of them differ
	moving    []bool
	stack     []int
	inside    int // blocks with region in them
	least     int // blocks that make a motion
	at        int64
	histogram [511]int
}

func newGround(size image.Point, region []link.Fraction, sensitivity int) *ground {
	n := size.X * size.Y
	g := &ground{size: size, mean: make([]float32, n), noise: make([]float32, n), mask: make([]bool, n),
		level: float32(max(4, 30-.28*float64(sensitivity))), least: max(1, 4-sensitivity/25),
		blocks: image.Pt((size.X+block-1)/block, (size.Y+block-1)/block)}
	g.room = make([]int, g.blocks.X*g.blocks.Y)
	g.changed = make([]int, len(g.room))
	g.moving = make([]bool, len(g.room))
	for i := range g.mask {
		x, y := i%size.X, i/size.X
		g.mask[i] = link.Within(region, link.Fraction{X: (float64(x) + .5) / float64(size.X), Y: (float64(y) + .5) / float64(size.Y)})
		if g.mask[i] {
			g.room[y/block*g.blocks.X+x/block]++
		}
	}
	for _, room := range g.room {
		if room >= blockNeed {
			g.inside++
		}
	}
	return g
}

func (g *ground) look(pixels []uint8, at int64) Activity {
	if g.at == 0 {
		for i := range g.mean {
			g.mean[i], g.noise[i] = float32(pixels[i]), usualNoise
		}
		g.at = at
		return Activity{Moving: true, Brightness: brightness(pixels[:len(g.mean)])}
	}
	dt := float64(max(0, min(at-g.at, int64(2*time.Second))))
	g.at = at
	shift := g.shift(pixels)
	toMean := float32(1 - math.Exp(-dt/float64(follow)))
	toNoise := float32(1 - math.Exp(-dt/float64(learn)))
	clear(g.changed)
	sum := 0
	for y := range g.size.Y {
		row := y * g.size.X
		blocks := g.changed[y/block*g.blocks.X:]
		for x := range g.size.X {
			i := row + x
			p := float32(pixels[i])
			sum += int(pixels[i])
			g.mean[i] += shift
			differs := p - g.mean[i]
			g.mean[i] += differs * toMean
			if differs < 0 {
				differs = -differs
			}
			if differs > g.level+3*g.noise[i] && g.mask[i] {
				blocks[x/block]++
			}
			g.noise[i] = min(noiseLimit, g.noise[i]+(min(differs, 2*g.level)-g.noise[i])*toNoise)
		}
	}
	a := g.blobs()
	a.Brightness = float64(sum) / float64(len(g.mean))
	return a
}

// shift is the median difference from the background, by which the light has
// changed everywhere. The background may be darker than black or brighter than
// white, after a light that was on for a moment.
func (g *ground) shift(pixels []uint8) float32 {
	clear(g.histogram[:])
	n := 0
	for i := 0; i < len(g.mean); i += 3 {
		g.histogram[min(len(g.histogram)-1, max(0, int(pixels[i])-int(g.mean[i])+255))]++
		n++
	}
	sum := 0
	for d, count := range g.histogram {
		if sum += count; sum*2 >= n {
			return float32(d - 255)
		}
	}
	return 0
}

// blobs joins the blocks that move into things.
func (g *ground) blobs() Activity {
	total := 0
	for i, n := range g.changed {
		g.moving[i] = n >= blockNeed
		if g.moving[i] {
			total++
		}
	}
	a := Activity{Moving: total >= g.least}
	if g.inside == 0 || total == 0 {
		return a
	}
	a.Share = float64(total) / float64(g.inside)
	a.Light = a.Share > lightShare
	most := 0
	for i := range g.moving {
		if !g.moving[i] {
			continue
		}
		n, area := g.flood(i)
		if n > most {
			most = n
			a.BlobShare = float64(n) / float64(g.inside)
			a.Blob = [4]float64{float64(area.Min.X*block) / float64(g.size.X), float64(area.Min.Y*block) / float64(g.size.Y),
				min(1, float64(area.Max.X*block)/float64(g.size.X)), min(1, float64(area.Max.Y*block)/float64(g.size.Y))}
		}
	}
	return a
}

// flood takes out the thing that block i belongs to, diagonal neighbours and
// gaps of one block included.
func (g *ground) flood(i int) (n int, area image.Rectangle) {
	g.stack = append(g.stack[:0], i)
	g.moving[i] = false
	for len(g.stack) > 0 {
		i := g.stack[len(g.stack)-1]
		g.stack = g.stack[:len(g.stack)-1]
		n++
		x, y := i%g.blocks.X, i/g.blocks.X
		area = area.Union(image.Rect(x, y, x+1, y+1))
		for v := max(0, y-2); v < min(g.blocks.Y, y+3); v++ {
			for u := max(0, x-2); u < min(g.blocks.X, x+3); u++ {
				if j := v*g.blocks.X + u; g.moving[j] {
					g.moving[j] = false
					g.stack = append(g.stack, j)
				}
			}
		}
	}
	return n, area
}

func brightness(pixels []uint8) float64 {
	sum := 0
	for _, p := range pixels {
		sum += int(p)
	}
	return float64(sum) / float64(max(1, len(pixels)))
}
