// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"
)

// Bytes is a size as people write it: 64MiB, 2GB, 1048576.
type Bytes int64

// UnmarshalText is called by kong.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is no size like 256MiB", text)
	}
	*b = Bytes(n)
	return nil
}
