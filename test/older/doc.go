// SPDX-License-Identifier: Apache-2.0

// Package older starts programs before the agent, and looks for what the agent tells of them: nobody restarts a node's services
// to have them watched.
package older
