// SPDX-License-Identifier: Apache-2.0

// Package joints connects processes of different cgroups by Unix sockets, and looks for that in what an agent tells.
package joints
