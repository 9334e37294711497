package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// source is what the files of package wire say.
type source struct {
	types map[string]*ast.TypeSpec
	docs  map[string]string // first sentence of a type's comment
	names map[string]string // constants Name… → value
	gaps  []string          // values of constants Gap…
}

// read parses package wire in dir.
func read(dir string) (*source, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("there is no package in %s: %w", dir, err)
	}
	s := &source{types: map[string]*ast.TypeSpec{}, docs: map[string]string{}, names: map[string]string{}}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					s.types[spec.Name.Name] = spec
					s.docs[spec.Name.Name] = comment(g.Doc)
				case *ast.ValueSpec:
					s.constant(spec)
				}
			}
		}
	}
	return s, nil
}

func (s *source) constant(spec *ast.ValueSpec) {
	for i, name := range spec.Names {
		if i >= len(spec.Values) {
			continue
		}
		lit, ok := spec.Values[i].(*ast.BasicLit)
		if !ok {
			continue
		}
		v, err := strconv.Unquote(lit.Value)
		switch {
		case err != nil:
		case strings.HasPrefix(name.Name, "Name"):
			s.names[name.Name] = v
		case strings.HasPrefix(name.Name, "Gap"):
			s.gaps = append(s.gaps, v)
		}
	}
}

// elsewhere is a comment's word on where a fact comes from: a page that is not
// in this repository.
var elsewhere = regexp.MustCompile(` \((vendor-mqtt|management|cloud-api)\.md[^)]*\)`)

// comment is a comment's text on one line.
func comment(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	return elsewhere.ReplaceAllString(strings.Join(strings.Fields(c.Text()), " "), "")
}

// fields lists the JSON fields of a type; those of anonymous structs stand
// under their path, those of embedded types as their own.
func (s *source) fields(name string) ([]row, error) {
	spec, ok := s.types[name]
	if !ok {
		return nil, fmt.Errorf("there is no type %s", name)
	}
	st, ok := spec.Type.(*ast.StructType)
	if !ok {
		return nil, fmt.Errorf("%s is no struct", name)
	}
	return s.structFields(st, "")
}

func (s *source) structFields(st *ast.StructType, prefix string) (rows []row, err error) {
	seen := map[string]int{}
	add := func(r row) {
		if i, twice := seen[r.name]; twice { // an outer field hides an embedded one
			rows[i] = r
			return
		}
		seen[r.name] = len(rows)
		rows = append(rows, r)
	}
	for _, f := range st.Fields.List {
		tag := ""
		if f.Tag != nil {
			text, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				return nil, err
			}
			tag = reflect.StructTag(text).Get("json")
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue
		}
		means := comment(f.Comment)
		if means == "" {
			means = comment(f.Doc)
		}
		if strings.Contains(options, "omitempty") {
			means = strings.TrimSpace(means + " (may be absent)")
		}
		if len(f.Names) == 0 {
			if embedded, ok := f.Type.(*ast.Ident); ok && name == "" {
				inner, err := s.fields(embedded.Name)
				if err != nil {
					return nil, err
				}
				for _, r := range inner {
					add(row{prefix + r.name, r.kind, r.means})
				}
				continue
			}
		}
		if len(f.Names) > 0 && !f.Names[0].IsExported() {
			continue
		}
		if name == "" && len(f.Names) > 0 {
			name = f.Names[0].Name
		}
		if inner, ok := f.Type.(*ast.StructType); ok {
			list, err := s.structFields(inner, prefix+name+".")
			if err != nil {
				return nil, err
			}
			for _, r := range list {
				add(r)
			}
			continue
		}
		kind, err := s.kind(f.Type)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		add(row{prefix + name, kind, means})
	}
	return rows, nil
}

// kind is a Go type in words of JSON; types of package wire are links.
func (s *source) kind(t ast.Expr) (string, error) {
	switch t := t.(type) {
	case *ast.Ident:
		switch t.Name {
		case "string", "bool":
			return map[string]string{"string": "string", "bool": "boolean"}[t.Name], nil
		case "int", "int64", "uint64", "uint32", "int32":
			return "integer", nil
		case "float64":
			return "number", nil
		case "any":
			return "any", nil
		case "Number":
			return "integer, also as a text", nil
		}
		if _, ok := s.types[t.Name]; ok {
			return fmt.Sprintf("[%s](#%s)", t.Name, strings.ToLower(t.Name)), nil
		}
	case *ast.StarExpr:
		inner, err := s.kind(t.X)
		return inner + " or null", err
	case *ast.ArrayType:
		if id, ok := t.Elt.(*ast.Ident); ok && id.Name == "byte" {
			return "string", nil
		}
		inner, err := s.kind(t.Elt)
		return "array of " + inner, err
	case *ast.MapType:
		inner, err := s.kind(t.Value)
		return "object of " + inner, err
	case *ast.SelectorExpr:
		if t.Sel.Name == "RawMessage" {
			return "any", nil
		}
	}
	return "", fmt.Errorf("a field of type %T cannot be described", t)
}
