// SPDX-License-Identifier: Apache-2.0

package hostfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/hostfs"
)

const most = 100

// home is a folder of somebody below another one, which has things that are not for everybody.
func home(t *testing.T) (root, home string) {
	t.Helper()
	root = t.TempDir()
	home = filepath.Join(root, "home/me")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"secret": "root only", "home/me/own": "mine", "home/other": "x"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, make := range map[string]func(string) error{
		"link":  func(to string) error { return os.Symlink("../../secret", to) },
		"mine":  func(to string) error { return os.Symlink("own", to) },
		"dir":   func(to string) error { return os.Symlink("..", to) },
		"fifo":  func(to string) error { return unix.Mkfifo(to, 0o600) },
		"large": func(to string) error { return os.WriteFile(to, nil, 0o600) },
	} {
		if err := make(filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(home, "large"), most+1); err != nil {
		t.Fatal(err)
	}
	return root, home
}

func TestAUsersFilesLeadNowhere(t *testing.T) {
	root, home := home(t)
	uid := uint32(os.Geteuid())
	stranger := uid + 1
	for name, dir := range map[string]hostfs.Dir{
		"of a user": {Path: home, Owner: &uid}, "without links": {Path: home, NoLinks: true},
	} {
		if b, err := dir.Read("own", most); err != nil || string(b) != "mine" {
			t.Errorf("%s: read %q, %v", name, b, err)
		}
		for _, file := range []string{"link", "mine", "dir/other", "../secret", "fifo", ".", "large", "/secret", "/etc/hostname"} {
			if b, err := dir.Read(file, most); err == nil {
				t.Errorf("%s: %s was read: %q", name, file, b)
			}
		}
	}
	if _, err := (hostfs.Dir{Path: home, Owner: &stranger}).Read("own", most); err == nil {
		t.Error("a file of somebody else was read")
	}
	// The system's folders are often links; they stay below the host's root.
	if err := os.Symlink("/home/me", filepath.Join(root, "moved")); err != nil {
		t.Fatal(err)
	}
	if b, err := (hostfs.Dir{Path: root}).Read("moved/own", most); err != nil || string(b) != "mine" {
		t.Errorf("through a link of the host: %q, %v", b, err)
	}
}

func TestStat(t *testing.T) {
	root, _ := home(t)
	dir := hostfs.Dir{Path: root, NoLinks: true}
	if st, err := dir.Stat("/home/me/large"); err != nil || st.Size != most+1 || st.Nlink != 1 || st.Ino == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := dir.Stat("/home/me/fifo"); err != nil { // it is not opened
		t.Error(err)
	}
	if st, err := dir.Stat("/home/me/mine"); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("of a link: %+v, %v", st, err)
	}
	for _, name := range []string{"/home/me/dir/other", "/home/me/nothing"} {
		if _, err := dir.Stat(name); err == nil {
			t.Errorf("%s leads somewhere", name)
		}
	}
}
