// SPDX-License-Identifier: Apache-2.0

package kernel

import "testing"

func TestFindV1(t *testing.T) {
	const head = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
	for name, tc := range map[string]struct {
		file string
		want V1
	}{
		"hybrid":       {head + "cpu\t1\t9\t1\nmemory\t4\t26\t1\npids\t8\t9\t1\n", V1{"pids", 8, 0}},
		"unified only": {head + "cpu\t0\t9\t1\npids\t0\t9\t1\n", V1{}},
		"a part in v2": {head + "pids\t0\t9\t1\nmemory\t4\t26\t1\n", V1{"memory", 4, 0}},
		"nothing":      {"", V1{}},
		"nonsense":     {"pids\nmemory x 1 1\ncpu 300 1 1\n", V1{}},
	} {
		if got := findV1(tc.file); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}
