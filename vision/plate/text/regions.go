package text

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What stands in a list of regions beside countries and groups of countries.
const (
	Mainland = "cn" // the Chinese mainland
	Anywhere = "*"  // everything that is not named: rarer, but read
)

// Regions say which numbers are read. A region is "cn", a country's ISO code in
// lower case, a group ("eu", "us", …) or "*" for all others. An empty list is
// cn,*: mainland numbers are expected, and those of all countries are read.
type Regions []string

// choice is what a list of regions means.
type choice struct {
	mainland, abroad bool
	home             bool // mainland numbers are the expected ones
	named            map[Country]bool
	anywhere         bool
}

func (a *Abroad) choose(regions Regions) (choice, error) {
	if len(regions) == 0 {
		return choice{mainland: true, abroad: true, home: true, anywhere: true}, nil
	}
	c := choice{named: map[Country]bool{}}
	for _, name := range regions {
		name = strings.ToLower(strings.TrimSpace(name))
		switch {
		case name == Mainland:
			c.mainland, c.home = true, true
		case name == Anywhere:
			c.anywhere = true
		case a.groups[name] != nil:
			for _, country := range a.groups[name] {
				c.named[country] = true
			}
		case a.has(strings.ToUpper(name)):
			c.named[strings.ToUpper(name)] = true
		default:
			return c, fmt.Errorf("there is no region %q: cn, *, a country (%s) or a group (%s)", name,
				strings.ToLower(strings.Join(a.Countries(), " ")), strings.Join(slices.Sorted(maps.Keys(a.groups)), " "))
		}
	}
	c.mainland = c.mainland || c.anywhere
	c.abroad = c.anywhere || len(c.named) > 0
	return c, nil
}

// Check tells what is wrong with a list of regions.
func (a *Abroad) Check(regions Regions) error {
	_, err := a.choose(regions)
	return err
}

// unspelt are the named regions without a template that characters can spell.
func (a *Abroad) unspelt(regions Regions, index map[rune]int) (names []string) {
	for _, region := range regions {
		name := strings.ToLower(strings.TrimSpace(region))
		countries := a.groups[name]
		if countries == nil {
			countries = []Country{strings.ToUpper(name)}
		}
		if name != Mainland && name != Anywhere && !slices.ContainsFunc(a.templates, func(t foreign) bool {
			return spells(index, t.slots) && slices.ContainsFunc(countries, func(c Country) bool { return slices.Contains(t.countries, c) })
		}) {
			names = append(names, region)
		}
	}
	return names
}

func (a *Abroad) has(country Country) bool {
	return slices.ContainsFunc(a.templates, func(t foreign) bool { return slices.Contains(t.countries, country) })
}

// Countries are those with templates, in order.
func (a *Abroad) Countries() []Country {
	all := map[Country]bool{}
	for _, t := range a.templates {
		for _, c := range t.countries {
			all[c] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Priors (natural logarithms) of numbers from abroad. They weigh readings that
// are about as likely against each other: O and 0, I and 1 are printed alike
// in many countries, and the country's template knows which it is.
const (
	freePrior    = -3.0 // fits no template at all
	unnamedPrior = -1.5 // fits one of a country that the regions do not name
)

// overseas makes the templates that a choice of regions reads.
func (a *Abroad) overseas(c choice) []template {
	var out []template
	if c.anywhere {
		for n := 4; n <= 9; n++ {
			out = append(out, template{form: Overseas, prior: freePrior, slots: slices.Repeat([]string{latin}, n)})
		}
	}
	for _, t := range a.templates {
		of := template{form: Overseas, slots: t.slots, countries: t.countries}
		switch {
		case len(c.named) == 0:
		case slices.ContainsFunc(t.countries, func(country Country) bool { return c.named[country] }):
			of.countries = slices.DeleteFunc(slices.Clone(t.countries), func(country Country) bool { return !c.named[country] })
		case c.anywhere:
			of.prior = unnamedPrior
		default:
			continue
		}
		if c.abroad {
			out = append(out, of)
		}
	}
	return out
}
