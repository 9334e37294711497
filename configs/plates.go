package configs

// Plates says whose number plates are read, and by whom.
type Plates struct {
	// Regions are those whose numbers are read.
	Regions []string `json:"regions" doc:"whose numbers are read: cn (the mainland), a country's ISO code in lower case, a group of countries (eu, europe, …) or * for all others; empty: cn, and all others as rarer ones" pattern:"^([*]|[a-z][a-z-]{1,30})$" maxitems:"32" restart:"vision"`
	// Templates brings further countries.
	Templates string `json:"templates" doc:"path of a file with further number templates, in the form of vision/plate/text/overseas.tsv; empty: none" restart:"vision" pushed:"no"`
	// Reader is the recogniser.
	Reader string `json:"reader" doc:"who reads: the small recogniser, PP-OCR (pp), or both, each confirming the other; empty: the one that comes with the version" enum:"|both|small|pp" restart:"vision"`
}

func defaultPlates() Plates { return Plates{Regions: []string{}} }
