// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxFile bounds a file; a contract of a large service is some 10 KiB.
	maxFile = 512 << 10
	// maxDepth bounds how deep a document nests, so that no input exhausts the parser's stack. The format needs 4.
	maxDepth = 16
	// maxKeys bounds the keys of one document: the parser takes time with the square of their number. It is more than
	// a contract has whose lists are as long as they may be.
	maxKeys = 5000
)

// Parse reads the contracts of one file, which may hold several YAML or JSON documents. The name is only used
// in errors. The error joins one *ParseError for each thing that is wrong, in the order of the file;
// when there is one, no contract is returned.
func Parse(file string, data []byte) ([]*Contract, error) {
	found := newProblems(file)
	contracts := parse(found, data)
	checkDuplicates(contracts, func(c *Contract, fix, problem string) {
		found.at(place{c.line, 1}, fix, "%s", problem)
	})
	if err := found.err(); err != nil {
		return nil, err
	}
	return contracts, nil
}

// parse returns the contracts of a file, also those in which it found problems.
func parse(found *problems, data []byte) []*Contract {
	if len(data) > maxFile {
		found.at(place{}, "split it into several files", "the file has %d bytes, more than %d", len(data), maxFile)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if pos, ok := badBytes(data); ok {
		found.at(pos, "save the file as UTF-8", "the file is not text in UTF-8")
		return nil
	}
	var contracts []*Contract
	for _, doc := range documents(string(data)) {
		found.newDocument()
		if c := parseDocument(found, doc); c != nil {
			c.validate(found)
			contracts = append(contracts, c)
		}
	}
	return contracts
}

// badBytes finds the first byte that YAML does not allow anywhere.
func badBytes(data []byte) (place, bool) {
	line, column := 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1, r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return place{line, column}, true
		case r == '\n':
			line, column = line+1, 1
		default:
			column++
		}
		data = data[size:]
	}
	return place{}, false
}

// document is one document of a file.
type document struct {
	// Lines of the file before it.
	offset int
	text   string
}

// documents cuts a file at its --- and ... lines, which YAML allows nowhere else at the beginning of a
// line. So a syntax error in one document leaves the others readable, and no document goes missing: the
// parser drops one that follows a document of comments alone.
func documents(s string) []document {
	var docs []document
	current, start, pos, lines := document{}, 0, 0, 0
	for line := range strings.SplitAfterSeq(s, "\n") {
		if isMarker(line) {
			current.text += s[start:pos]
			docs = append(docs, current)
			// What stands beside the marker belongs to the next document; the blanks keep its column.
			current, start = document{offset: lines, text: "   " + line[3:]}, pos+len(line)
		}
		pos += len(line)
		lines++
	}
	current.text += s[start:]
	return append(docs, current)
}

func isMarker(line string) bool {
	return (strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...")) &&
		(len(line) == 3 || strings.IndexByte(" \t\r\n", line[3]) >= 0)
}

func parseDocument(found *problems, doc document) *Contract {
	d := &decoder{problems: found, offset: doc.offset}
	tokens := lexer.Tokenize(doc.text)
	if !d.admit(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(doc, err)
		return nil
	}
	var body ast.Node
	for _, part := range file.Docs {
		if body != nil && part.Body != nil {
			d.at(d.placeOf(part.Body), "begin each document with a line that says ---", "two documents are not kept apart")
			return nil
		}
		if part.Body != nil {
			body = part.Body
		}
	}
	if lost := unread(tokens, body); lost != nil {
		d.at(d.placeOfToken(lost), "check the indentation around it", "%q is not part of any field", clip(lost.Value))
		return nil
	}
	if _, comment := body.(*ast.CommentGroupNode); body == nil || comment {
		return nil
	}
	c := &Contract{file: found.file, line: d.placeOf(body).line}
	d.places[""] = d.placeOf(body)
	d.value(body, reflect.ValueOf(c).Elem(), "")
	if d.spoilt[""] {
		return nil
	}
	return c
}

// admit refuses what the format does not use of YAML, and what nests too deep.
func (d *decoder) admit(tokens token.Tokens) bool {
	before := len(d.all)
	depth, entries, keys, line := 0, 0, 0, 0
	for i, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			entries++
		case token.MappingValueType:
			if keys++; keys > maxKeys {
				d.at(d.placeOfToken(t), "use wildcards, or write several contracts", "the document has more than %d keys", maxKeys)
				return false
			}
		case token.AliasType:
			text := "*"
			if i+1 < len(tokens) && tokens[i+1].Position.Line == t.Position.Line && tokens[i+1].Type == token.StringType {
				text += tokens[i+1].Value
			}
			fix := fmt.Sprintf("put it in quotes: %q", text)
			if i > 0 && tokens[i-1].Type == token.SequenceEndType {
				fix = "put the whole value in quotes: a plain one ends at the bracket"
			}
			d.at(d.placeOfToken(t), fix, "%s without quotes is a YAML alias", text)
		case token.AnchorType, token.MergeKeyType:
			d.at(d.placeOfToken(t), "write the value out where it is needed", "YAML anchors and merge keys are not part of the format")
		case token.TagType:
			d.at(d.placeOfToken(t), "leave it out", "YAML tags such as %s are not part of the format", t.Value)
		case token.DirectiveType:
			d.at(d.placeOfToken(t), "leave the line out", "YAML directives are not part of the format")
		case token.MappingKeyType:
			d.at(d.placeOfToken(t), "write key: value", "YAML's ? keys are not part of the format")
		}
		if depth > maxDepth || entries > maxDepth {
			d.at(d.placeOfToken(t), "compare it with the example in docs/contracts.md", "the document nests too deep")
			return false
		}
	}
	return len(d.all) == before
}

// syntax reports an error of the YAML parser.
func (d *decoder) syntax(doc document, err error) {
	var pos place
	var message string
	if at := yaml.Error(nil); errors.As(err, &at) {
		pos, message = d.placeOfToken(at.GetToken()), at.GetMessage()
	} else {
		pos, message = place{doc.offset + 1, 1}, err.Error()
	}
	fix := "check the indentation and the quotes here and in the line before"
	switch {
	case strings.Contains(message, "tab character"), strings.Contains(message, "'\t'"):
		message = "a tab where only spaces may stand"
		fix = "indent with spaces"
	case strings.Contains(message, "could not find end character"):
		fix = "close the quotes"
	case strings.Contains(message, "must be specified"):
		fix = "close the bracket that was opened before"
	case strings.Contains(message, "reserved character"):
		fix = "put the value in quotes"
	case strings.Contains(message, "mapping value is not allowed"):
		fix = "put a value that holds \": \" in quotes, or begin a new line"
	}
	d.at(pos, fix, "not valid YAML: %s", strings.TrimSuffix(message, "."))
}

// unread finds a value that the parser left out of the tree it built: better a refusal than a contract that
// lacks a line its author wrote.
func unread(tokens token.Tokens, body ast.Node) *token.Token {
	reached := map[*token.Token]bool{}
	if body != nil {
		ast.Walk(visitor(func(n ast.Node) {
			if n != nil {
				reached[n.GetToken()] = true
			}
		}), body)
	}
	for _, t := range tokens {
		switch t.Type {
		case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.IntegerType, token.FloatType, token.BoolType,
			token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType, token.InfinityType, token.NanType:
			if !reached[t] {
				return t
			}
		}
	}
	return nil
}

type visitor func(ast.Node)

func (v visitor) Visit(n ast.Node) ast.Visitor {
	v(n)
	return v
}
