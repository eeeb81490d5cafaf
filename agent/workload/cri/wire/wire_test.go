// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The messages here are a part of Kubernetes' own: every field must have the number, name and type that it has there.
func TestFieldsAreThoseOfTheCRI(t *testing.T) {
	theirs := cri.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Messages()
	ours := File_cri_proto.Messages()
	for i := range ours.Len() {
		m := ours.Get(i)
		original := theirs.ByName(m.Name())
		if original == nil {
			t.Errorf("the CRI has no message %s", m.Name())
			continue
		}
		compare(t, m, original)
	}
}

func compare(t *testing.T, m, original protoreflect.MessageDescriptor) {
	t.Helper()
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		o := original.Fields().ByNumber(f.Number())
		if o == nil || o.Name() != f.Name() || o.Kind() != f.Kind() || o.Cardinality() != f.Cardinality() || o.IsMap() != f.IsMap() {
			t.Errorf("%s of %s is %v in the CRI, and %v here", f.Name(), m.Name(), o, f)
			continue
		}
		switch {
		case f.IsMap():
			if f.MapKey().Kind() != o.MapKey().Kind() || f.MapValue().Kind() != o.MapValue().Kind() {
				t.Errorf("%s of %s maps other types in the CRI", f.Name(), m.Name())
			}
		case f.Kind() == protoreflect.MessageKind && f.Message().Name() != o.Message().Name():
			t.Errorf("%s of %s is a %s in the CRI, and a %s here", f.Name(), m.Name(), o.Message().Name(), f.Message().Name())
		}
	}
}
