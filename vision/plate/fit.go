package plate

import (
	"fmt"
	"math"
)

// Sample is one reading and whether it was right.
type Sample struct {
	Features Features
	Right    bool
}

// Fit finds the confidence that makes the samples likeliest (logistic
// regression), with a small penalty on large weights, none of the rising
// features' weights below zero and none of the falling ones' above. It is deterministic.
func Fit(samples []Sample) (Confidence, error) {
	c := Confidence{Weights: map[string]float64{}}
	right := 0
	for _, s := range samples {
		if s.Right {
			right++
		}
	}
	if right < 10 || len(samples)-right < 10 {
		return c, fmt.Errorf("cannot fit the confidence: %d right and %d wrong readings are too few", right, len(samples)-right)
	}
	mean, spread := moments(samples)
	const (
		rounds  = 4000
		rate    = 0.5
		inertia = 0.9
		penalty = 1e-3
	)
	var w, speed Features
	var bias, biasSpeed float64
	n := float64(len(samples))
	for range rounds {
		var slope Features
		var biasSlope float64
		for _, s := range samples {
			z, y := bias, 0.0
			for i := range w {
				z += w[i] * (s.Features[i] - mean[i]) / spread[i]
			}
			if s.Right {
				y = 1
			}
			wrong := 1/(1+math.Exp(-z)) - y
			biasSlope += wrong / n
			for i := range w {
				slope[i] += wrong / n * (s.Features[i] - mean[i]) / spread[i]
			}
		}
		biasSpeed = inertia*biasSpeed - rate*biasSlope
		bias += biasSpeed
		for i := range w {
			speed[i] = inertia*speed[i] - rate*(slope[i]+penalty*w[i])
			w[i] += speed[i]
			if i < rising && w[i] < 0 || i >= falling && w[i] > 0 {
				w[i], speed[i] = 0, 0
			}
		}
	}
	c.Bias = bias
	for i, name := range featureNames {
		c.weights[i] = math.Round(1e4*w[i]/spread[i]) / 1e4
		c.Bias -= c.weights[i] * mean[i]
		c.Weights[name] = c.weights[i]
	}
	c.Bias = math.Round(1e4*c.Bias) / 1e4
	return c, nil
}

// moments are each feature's mean and standard deviation, the latter 1 where
// the feature does not vary.
func moments(samples []Sample) (mean, spread Features) {
	n := float64(len(samples))
	for _, s := range samples {
		for i, v := range s.Features {
			mean[i] += v / n
		}
	}
	for _, s := range samples {
		for i, v := range s.Features {
			spread[i] += (v - mean[i]) * (v - mean[i]) / n
		}
	}
	for i, v := range spread {
		if spread[i] = math.Sqrt(v); spread[i] < 1e-6 {
			spread[i] = 1
		}
	}
	return mean, spread
}

// FeatureNames are the names of Features, in their order.
func FeatureNames() []string { return append([]string(nil), featureNames...) }
