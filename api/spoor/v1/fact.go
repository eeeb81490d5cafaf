// SPDX-License-Identifier: Apache-2.0

// Package spoorv1 is the words that all parts share: the messages and services of spoor/v1, which are generated, and what is the
// same wherever they are used. It imports no other part.
package spoorv1

// FactName returns the name of the event's fact in the protocol, for example file_write, which is also its kind; "" without
// one that this version knows.
func (x *Event) FactName() string {
	m := x.ProtoReflect()
	if field := m.WhichOneof(m.Descriptor().Oneofs().ByName("fact")); field != nil {
		return string(field.Name())
	}
	return ""
}

// TakeFact moves the fact of a record into an event, without copying it. It says whether there is one that this version
// knows: each fact of a Record is one of Event under the same name and number.
func (x *Event) TakeFact(r *Record) bool {
	switch f := r.GetFact().(type) {
	case *Record_ProcessStart:
		x.Fact = &Event_ProcessStart{ProcessStart: f.ProcessStart}
	case *Record_ProcessExit:
		x.Fact = &Event_ProcessExit{ProcessExit: f.ProcessExit}
	case *Record_FileWrite:
		x.Fact = &Event_FileWrite{FileWrite: f.FileWrite}
	case *Record_FileChange:
		x.Fact = &Event_FileChange{FileChange: f.FileChange}
	case *Record_Flow:
		x.Fact = &Event_Flow{Flow: f.Flow}
	case *Record_Listen:
		x.Fact = &Event_Listen{Listen: f.Listen}
	case *Record_Dns:
		x.Fact = &Event_Dns{Dns: f.Dns}
	case *Record_Share:
		x.Fact = &Event_Share{Share: f.Share}
	case *Record_Loss:
		x.Fact = &Event_Loss{Loss: f.Loss}
	case *Record_Coverage:
		x.Fact = &Event_Coverage{Coverage: f.Coverage}
	default:
		return false
	}
	return true
}

// GiveFact is the reverse of TakeFact: the record gets the fact of the event, which both have then.
func (x *Event) GiveFact(r *Record) bool {
	switch f := x.GetFact().(type) {
	case *Event_ProcessStart:
		r.Fact = &Record_ProcessStart{ProcessStart: f.ProcessStart}
	case *Event_ProcessExit:
		r.Fact = &Record_ProcessExit{ProcessExit: f.ProcessExit}
	case *Event_FileWrite:
		r.Fact = &Record_FileWrite{FileWrite: f.FileWrite}
	case *Event_FileChange:
		r.Fact = &Record_FileChange{FileChange: f.FileChange}
	case *Event_Flow:
		r.Fact = &Record_Flow{Flow: f.Flow}
	case *Event_Listen:
		r.Fact = &Record_Listen{Listen: f.Listen}
	case *Event_Dns:
		r.Fact = &Record_Dns{Dns: f.Dns}
	case *Event_Share:
		r.Fact = &Record_Share{Share: f.Share}
	case *Event_Loss:
		r.Fact = &Record_Loss{Loss: f.Loss}
	case *Event_Coverage:
		r.Fact = &Record_Coverage{Coverage: f.Coverage}
	default:
		return false
	}
	return true
}
