// SPDX-License-Identifier: Apache-2.0

// Package query answers what people ask of the collector: it is the handler of spoor.v1.QueryService.
//
// It checks what was asked, asks the store, and adds to every answer a sentence about what the answer cannot show.
// It must not know an engine of the store, how events come in, or how findings are decided; what changes a finding
// is handed in.
package query
