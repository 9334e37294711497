package text

import (
	"bufio"
	_ "embed" // the templates of numbers from abroad
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Country is a country by its ISO 3166 code, in capitals.
type Country = string

// Abroad are the number templates of countries, and groups of these by name.
//
// They are data: a further file (AddFile) brings countries without a new
// program. Every line is a country, a pattern and an example that follows it,
// or "=", the name of a group and its countries, between tabs or spaces; "#"
// begins a remark. In a pattern L is a letter, D a digit, A either, [ABC] one
// of these characters; {2} or {1,3} repeats what stands before it.
type Abroad struct {
	templates []foreign
	groups    map[string][]Country
}

// foreign is one number grammar of one or more countries.
type foreign struct {
	slots     []string
	countries []Country
}

// Limits of a template file, so that a wrong one cannot eat the board's memory.
const (
	minNumber    = 4 // characters
	maxNumber    = 12
	maxExpanded  = 128 // lengths that one pattern may stand for
	maxTemplates = 1024
)

//go:embed overseas.tsv
var overseasFile string

// BuiltIn returns the templates that come with the program.
func BuiltIn() *Abroad {
	a := &Abroad{}
	if err := a.AddFile(strings.NewReader(overseasFile)); err != nil {
		panic(err) // a test reads the same file
	}
	return a
}

// AddFile adds the templates and groups of a file. The error names the line; a
// wrong file changes nothing.
func (a *Abroad) AddFile(from io.Reader) error {
	more := Abroad{groups: map[string][]Country{}}
	lines := bufio.NewScanner(from)
	for n := 1; lines.Scan(); n++ {
		if err := more.addLine(lines.Text()); err != nil {
			return fmt.Errorf("cannot read the number templates: line %d: %w", n, err)
		}
		if len(a.templates)+len(more.templates) > maxTemplates {
			return fmt.Errorf("cannot read the number templates: line %d: there are more than %d with every length counted", n, maxTemplates)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read the number templates: %w", err)
	}
	for _, t := range more.templates {
		for _, c := range t.countries {
			a.add(t.slots, c)
		}
	}
	if a.groups == nil {
		a.groups = map[string][]Country{}
	}
	for name, countries := range more.groups {
		a.groups[name] = countries
	}
	return nil
}

func (a *Abroad) addLine(line string) error {
	line, _, _ = strings.Cut(line, "#")
	columns := strings.Fields(line)
	if len(columns) == 0 {
		return nil
	}
	if columns[0] == "=" {
		return a.addGroup(columns[1:])
	}
	if len(columns) != 3 {
		return fmt.Errorf("a template has a country, a pattern and an example, not %d columns", len(columns))
	}
	country, pattern, example := columns[0], columns[1], columns[2]
	if !isCountry(country) {
		return fmt.Errorf("%q is no country code of two capitals", country)
	}
	all, err := expand(pattern)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(slots []string) bool { return fits(slots, []rune(example)) }) {
		return fmt.Errorf("the example %s does not follow the pattern %s", example, pattern)
	}
	for _, slots := range all {
		a.add(slots, country)
	}
	return nil
}

func (a *Abroad) addGroup(columns []string) error {
	if len(columns) < 2 {
		return fmt.Errorf("a group has a name and its countries")
	}
	name := columns[0]
	if name == Mainland || name == Anywhere || strings.ToLower(name) != name {
		return fmt.Errorf("a group is named in lower case and neither %q nor %q, not %q", Mainland, Anywhere, name)
	}
	for _, c := range columns[1:] {
		if !isCountry(c) {
			return fmt.Errorf("%q in the group %s is no country code of two capitals", c, name)
		}
	}
	a.groups[name] = columns[1:]
	return nil
}

func (a *Abroad) add(slots []string, country Country) {
	for i := range a.templates {
		if t := &a.templates[i]; slices.Equal(t.slots, slots) {
			if !slices.Contains(t.countries, country) {
				t.countries = append(t.countries, country)
			}
			return
		}
	}
	a.templates = append(a.templates, foreign{slots, []Country{country}})
}

func isCountry(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

func fits(slots []string, number []rune) bool {
	if len(slots) != len(number) {
		return false
	}
	for i, c := range number {
		if !strings.ContainsRune(slots[i], c) {
			return false
		}
	}
	return true
}

// expand turns a pattern into one list of slots for every length that it has.
func expand(pattern string) ([][]string, error) {
	all := [][]string{nil}
	rest := []rune(pattern)
	for len(rest) > 0 {
		class, n, err := class(rest)
		if err != nil {
			return nil, fmt.Errorf("the pattern %s: %w", pattern, err)
		}
		rest = rest[n:]
		least, most, n, err := repeats(rest)
		if err != nil {
			return nil, fmt.Errorf("the pattern %s: %w", pattern, err)
		}
		rest = rest[n:]
		var longer [][]string
		for _, slots := range all {
			for k := least; k <= min(most, maxNumber-len(slots)); k++ {
				longer = append(longer, slices.Concat(slots, slices.Repeat([]string{class}, k)))
			}
		}
		if all = longer; len(all) > maxExpanded {
			return nil, fmt.Errorf("the pattern %s stands for more than %d lengths", pattern, maxExpanded)
		}
		if len(all) == 0 {
			break // longer than a plate
		}
	}
	all = slices.DeleteFunc(all, func(slots []string) bool { return len(slots) < minNumber }) // any text would be one
	if len(all) == 0 {
		return nil, fmt.Errorf("the pattern %s has no length from %d to %d", pattern, minNumber, maxNumber)
	}
	return all, nil
}

// class reads one L, D, A or [set]; n is how many runes it takes.
func class(pattern []rune) (set string, n int, err error) {
	switch pattern[0] {
	case 'L':
		return latin[:26], 1, nil
	case 'D':
		return digits, 1, nil
	case 'A':
		return latin, 1, nil
	case '[':
		end := slices.Index(pattern, ']')
		if end < 2 {
			return "", 0, fmt.Errorf("a [ has no ], or nothing between them")
		}
		for _, c := range pattern[1:end] {
			if !unicode.IsUpper(c) && !unicode.IsDigit(c) && !unicode.In(c, unicode.Lo) {
				return "", 0, fmt.Errorf("%q cannot stand in a number", c)
			}
		}
		return string(pattern[1:end]), end + 1, nil
	}
	return "", 0, fmt.Errorf("%q is none of L, D, A, [characters], {count}", pattern[0])
}

// repeats reads an optional {n} or {n,m}.
func repeats(pattern []rune) (least, most, n int, err error) {
	if len(pattern) == 0 || pattern[0] != '{' {
		return 1, 1, 0, nil
	}
	end := slices.Index(pattern, '}')
	if end < 0 {
		return 0, 0, 0, fmt.Errorf("a { has no }")
	}
	from, to, isRange := strings.Cut(string(pattern[1:end]), ",")
	if !isRange {
		to = from
	}
	least, err = strconv.Atoi(from)
	if err == nil {
		most, err = strconv.Atoi(to)
	}
	if err != nil || least < 0 || most < least || most > maxNumber {
		return 0, 0, 0, fmt.Errorf("{%s} is no count, or range of counts, up to %d", string(pattern[1:end]), maxNumber)
	}
	return least, most, end + 1, nil
}
