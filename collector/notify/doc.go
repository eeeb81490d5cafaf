// SPDX-License-Identifier: Apache-2.0

// Package notify tells receivers of alerts what the collector has found, until they were told.
//
// What has to be told is in the store's outbox, and nothing that must survive is kept here. The package must not
// know how findings come about or an engine of the store.
package notify
