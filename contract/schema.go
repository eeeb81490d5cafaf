// SPDX-License-Identifier: Apache-2.0

package contract

import _ "embed"

//go:generate go test -run ^(TestSchemaIsCurrent|TestDefinitionIsCurrent)$ . -update

//go:embed schema.json
var schema string

// Schema returns the JSON schema (2020-12) of a contract, for editors and for what checks files before Spoor sees them.
// It is generated from the types of this package and their comments. Parse checks more than a schema can say.
func Schema() []byte { return []byte(schema) }
