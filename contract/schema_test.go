// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

var update = flag.Bool("update", false, "write schema.json and the golden files instead of comparing with them")

// object is a JSON object that keeps the order of its members.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// fieldComments reads the comment of each field of each struct in types.go, as Type.Field.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		s, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				comments[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
			}
		}
		return true
	})
	return comments
}

// schemaOf builds the schema of a type of the format.
func schemaOf(t *testing.T, typ reflect.Type, comments map[string]string) object {
	t.Helper()
	text := func(pattern string) object { return object{{"type", "string"}, {"pattern", pattern}} }
	words := func(words []string) object { return object{{"type", "string"}, {"enum", words}} }
	switch reflect.Zero(typ).Interface().(type) {
	case State:
		return words(states)
	case Transport:
		return words(transports)
	case Class:
		return words(classes)
	case Purpose:
		return text(purposeForm.String())
	case Duration:
		return text(`^([0-9]{1,5}d)?([0-9]{1,7}h)?([0-9]{1,9}m)?([0-9]{1,10}s)?$`)
	case Bytes:
		return object{{"anyOf", []object{{{"type", "integer"}, {"minimum", 1}}, text(`^[0-9]{1,15}(Ki|Mi|Gi|Ti|k|M|G|T)?$`)}}}
	case Ports:
		return object{{"anyOf", []object{{{"type", "integer"}, {"minimum", 1}, {"maximum", 65535}}, text(`^[0-9]{1,5}(-[0-9]{1,5})?$`)}}}
	case CIDR:
		return text(`^[0-9a-fA-F.:]+/[0-9]{1,3}$`)
	case PathPattern:
		return object{{"type", "string"}, {"pattern", "^/"}, {"maxLength", maxPattern}}
	case Ref:
		return text(`^([^/ ]+/){1,3}[^/ ]+$`)
	case NamePattern:
		return text(`^[^/ ]+$`)
	case Operator:
		return words(operators)
	case DNSName:
		return object{{"type", "string"}, {"pattern", `^[A-Za-z0-9_.*-]+$`}, {"maxLength", 254}}
	}
	label := object{{"type", "string"}, {"pattern", labelValue.String()}, {"maxLength", maxLabelPart}}
	if typ == reflect.TypeFor[Selection]() {
		return object{{"type", "object"}, {"minProperties", 1}, {"maxProperties", spoorv1.MaxLabels}, {"additionalProperties", label}}
	}
	switch typ.Kind() {
	case reflect.String:
		return object{{"type", "string"}}
	case reflect.Map:
		return object{{"type", "object"}, {"additionalProperties", schemaOf(t, typ.Elem(), comments)}}
	case reflect.Slice:
		return object{{"type", "array"}, {"maxItems", maxEntries}, {"items", schemaOf(t, typ.Elem(), comments)}}
	case reflect.Struct:
	default:
		t.Fatalf("no schema for %s", typ)
	}
	var properties object
	var required []string
	for _, f := range fieldsOf(typ) {
		goField := typ.Field(f.index)
		comment := comments[typ.Name()+"."+goField.Name]
		if comment == "" {
			t.Fatalf("%s.%s has no comment", typ.Name(), goField.Name)
		}
		property := append(object{{"description", comment}}, schemaOf(t, goField.Type, comments)...)
		set := func(name string, value any) {
			i := slices.IndexFunc(property, func(m member) bool { return m.name == name })
			if i < 0 {
				i = len(property)
				property = append(property, member{name: name})
			}
			property[i].value = value
		}
		switch typ.Name() + "." + goField.Name {
		case "Contract.APIVersion":
			set("const", APIVersion)
		case "Contract.Kind":
			set("const", Kind)
		case "Selector.MatchExpressions":
			set("minItems", 1)
			set("maxItems", spoorv1.MaxLabels)
		case "Expression.Values":
			set("items", label)
		}
		properties = append(properties, member{f.name, property})
		if f.required {
			required = append(required, f.name)
		}
	}
	o := object{{"type", "object"}, {"additionalProperties", false}}
	if required != nil {
		o = append(o, member{"required", required})
	}
	one := func(names ...string) {
		var each []object
		for _, name := range names {
			each = append(each, object{{"required", []string{name}}})
		}
		o = append(o, member{"oneOf", each})
	}
	switch reflect.Zero(typ).Interface().(type) {
	case Caller:
		one("workload", "cidr")
	case Call:
		one("workload", "dns", "cidr")
	case Selector:
		o = append(o, member{"anyOf", []object{{{"required", []string{"kind", "name"}}}, {{"required", []string{"matchLabels"}}}, {{"required", []string{"matchExpressions"}}}}})
	case Expression:
		operator := func(words ...Operator) member { return member{"operator", object{{"enum", words}}} }
		o = append(o, member{"oneOf", []object{
			{{"required", []string{"values"}}, {"properties", object{operator(In, NotIn), {"values", object{{"minItems", 1}}}}}},
			{{"properties", object{operator(Exists, DoesNotExist), {"values", object{{"maxItems", 0}}}}}},
		}})
	case Share:
		o = append(o, member{"minProperties", 1})
	}
	return append(o, member{"properties", properties})
}

func TestSchemaIsCurrent(t *testing.T) {
	o := object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", "https://spoor.dev/schema/contract-v1.json"},
		{"title", "Spoor contract"},
		{"description", "What has been agreed about one workload: whether it keeps state, where it writes, whom it calls and who calls it."},
	}
	o = append(o, schemaOf(t, reflect.TypeFor[Contract](), fieldComments(t))...)
	compact, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	if *update {
		if err := os.WriteFile("schema.json", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(b.Bytes(), Schema()) {
		t.Error("schema.json is not what the types say; run: go generate ./contract")
	}
}
