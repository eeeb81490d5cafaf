// SPDX-License-Identifier: Apache-2.0

// Package losses does more than an agent with small maps can take, and looks whom it says the losses are of.
package losses
