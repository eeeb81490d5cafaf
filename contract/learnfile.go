// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// fileFact is a family of files that a workload writes, by generalised path.
type fileFact struct {
	fact
	pattern PathPattern
	// A path of the family, to guess from.
	example string
	storage spoorv1.StorageClass
	// Files that were seen, were seen to go, and how old the oldest of those was.
	files, removed int
	age            time.Duration
	// What is there at a time, and the most of it.
	bytes, peak uint64
}

// liveFile is a file that is there as far as is known.
type liveFile struct {
	fact  *fileFact
	path  string
	size  uint64
	first time.Time
}

// end takes the file out of the sum of its family.
func (f *liveFile) end() { f.fact.bytes -= f.size }

func (f *liveFile) resize(size uint64) {
	f.fact.bytes += size - f.size
	f.size = size
	f.fact.peak = max(f.fact.peak, f.fact.bytes)
}

func (s *lesson) write(l *Learner, ev *spoorv1.Event, w *spoorv1.FileWrite, t time.Time) {
	src := w.GetFile()
	if src == nil || slices.Contains(pseudo, src.GetFsType()) || src.GetPathTruncated() || !strings.HasPrefix(pathOf(src), "/") {
		return
	}
	id := idOf(ev.GetNode(), src)
	live, known := s.live.get(id)
	switch {
	case src.GetUnlinked():
		if known {
			s.removed(id, live, t)
		}
		return
	case !w.GetData() && w.GetSizeBefore() == w.GetSizeAfter():
		return
	case known && live.path == pathOf(src):
	default:
		first := earlier(timeOr(w.GetFirst(), t), t)
		if known {
			first = live.first
			live.end()
			s.live.remove(id)
		}
		f := s.family(l, pathOf(src), src.GetStorageClass(), t)
		if f == nil {
			return
		}
		f.files++
		live = &liveFile{fact: f, path: pathOf(src), first: first}
		s.live.put(id, live)
	}
	live.fact.add(ev, t)
	live.resize(min(w.GetSizeAfter(), maxSize))
}

// family returns the fact that a path belongs to, nil when there is no room for it.
func (s *lesson) family(l *Learner, path string, storage spoorv1.StorageClass, t time.Time) *fileFact {
	pattern := Generalise(path)
	key := string(pattern)
	f := s.files[key]
	if f == nil {
		if !s.isNew(l, t) {
			return nil
		}
		f = &fileFact{pattern: pattern, example: path, storage: storage}
		s.files[key] = f
	}
	return f
}

func (s *lesson) removed(id fileID, live *liveFile, t time.Time) {
	live.end()
	s.live.remove(id)
	live.fact.removed++
	live.fact.age = max(live.fact.age, t.Sub(live.first))
}

func (s *lesson) change(l *Learner, ev *spoorv1.Event, c *spoorv1.FileChange, t time.Time) {
	id := idOf(ev.GetNode(), c.GetFile())
	live, known := s.live.get(id)
	if !known {
		return
	}
	switch c.GetOperation() {
	case spoorv1.FileChange_OPERATION_UNLINK:
		s.removed(id, live, t)
	case spoorv1.FileChange_OPERATION_RENAME:
		// It left one family for another: for the first it is as good as removed.
		s.removed(id, live, t)
		if f := s.family(l, c.GetTargetPath(), live.fact.storage, t); f != nil {
			f.files++
			f.add(ev, t)
			moved := &liveFile{fact: f, path: c.GetTargetPath(), first: live.first}
			moved.resize(live.size)
			s.live.put(id, moved)
		}
	}
}

// temporary are the places where programs put files that they mean to lose.
var temporary = []PathPattern{"/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run"}

func isTemporary(name string) bool {
	return slices.ContainsFunc(temporary, func(p PathPattern) bool { return p.Covers(name) })
}

// filePlace is a line that is proposed for scratch or volumes, with what it rests on.
type filePlace struct {
	pattern PathPattern
	// A path of each family.
	examples []string
	class    Class
	storage  spoorv1.StorageClass
	by       string
	age      time.Duration
	peak     uint64
	files    int
	// Seen on a node that does not report removals.
	blind bool
}

func (p *filePlace) absorb(q *filePlace) {
	p.age, p.peak = max(p.age, q.age), p.peak+q.peak
	p.files += q.files
	p.examples = append(p.examples, q.examples...)
	p.blind = p.blind || q.blind
	if p.class != q.class {
		p.class = ClassData
	}
}

// sortFiles parts what was written into what came and went, what stays where it may, and what stays where a stateless
// workload keeps nothing.
func (s *lesson) sortFiles(l *Learner) (scratch, volumes, local []*filePlace) {
	for _, key := range slices.Sorted(maps.Keys(s.files)) {
		f := s.files[key]
		class := classify(f.example, behaviour{}).class
		p := &filePlace{pattern: f.pattern, examples: []string{f.example}, class: class, age: f.age, peak: f.peak, files: f.files, storage: f.storage, by: f.by}
		for in := range f.instances {
			_, sees := l.renamers.get(in.node)
			p.blind = p.blind || !sees
		}
		switch {
		case f.files == 0:
		case f.removed >= f.files, isTemporary(f.example) && (p.blind || f.removed*2 >= f.files):
			scratch = append(scratch, p)
		case f.storage == spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME:
			volumes = append(volumes, p)
		case f.storage == spoorv1.StorageClass_STORAGE_CLASS_CONFIG, f.storage == spoorv1.StorageClass_STORAGE_CLASS_TMPFS && !onPlainHost(s.id):
		default:
			local = append(local, p)
		}
	}
	return joinPlaces(scratch), byDirectory(volumes), joinPlaces(local)
}

// maxOfDirectory is how many families of one directory get a line each.
const maxOfDirectory = 3

// joinPlaces puts places of one directory together when they are many, and such as overlap.
func joinPlaces(places []*filePlace) []*filePlace {
	siblings := map[string]int{}
	for _, p := range places {
		siblings[path.Dir(string(p.pattern))]++
	}
	for _, p := range places {
		if dir := path.Dir(string(p.pattern)); siblings[dir] > maxOfDirectory && dir != "/" && checkPath(dir) == nil {
			p.pattern = PathPattern(dir + "/**")
		}
	}
	for again := true; again; {
		again = false
		for i := 0; i < len(places); i++ {
			for k := len(places) - 1; k > i; k-- {
				if places[i].pattern.Overlaps(places[k].pattern) {
					places[i].pattern = union(places[i].pattern, places[k].pattern)
					places[i].absorb(places[k])
					places = slices.Delete(places, k, k+1)
					again = true
				}
			}
		}
	}
	slices.SortFunc(places, func(a, b *filePlace) int { return cmp.Compare(a.pattern, b.pattern) })
	return places
}

// union returns a pattern that covers both of two that overlap.
func union(p, q PathPattern) PathPattern {
	if p == q {
		return p
	}
	a, b := strings.Split(string(p), "/"), strings.Split(string(q), "/")
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] && a[n] != "**" {
		n++
	}
	u := strings.Join(a[:n], "/") + "/**"
	if checkPath(u) != nil {
		return "/**"
	}
	return PathPattern(u)
}

// shared are directories that belong to everybody: what one workload keeps there is named by itself.
var shared = []string{
	"/", "/bin", "/boot", "/dev", "/dev/shm", "/etc", "/home", "/lib", "/mnt", "/opt", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr",
	"/usr/lib", "/usr/local", "/usr/share", "/var", "/var/cache", "/var/lib", "/var/log", "/var/run", "/var/spool", "/var/tmp",
}

// byDirectory makes a volume of each directory that several files stay in, the upper one where one lies in the other.
func byDirectory(places []*filePlace) []*filePlace {
	siblings := map[string]int{}
	for _, p := range places {
		siblings[directory(p.pattern)]++
	}
	for _, p := range places {
		if dir := directory(p.pattern); siblings[dir] > 1 && !slices.Contains(shared, dir) && checkPath(dir) == nil {
			p.pattern = PathPattern(dir)
		}
	}
	slices.SortFunc(places, func(a, b *filePlace) int { return cmp.Compare(a.pattern, b.pattern) })
	var out []*filePlace
	for _, p := range places {
		if n := len(out); n > 0 && (out[n-1].pattern == p.pattern || out[n-1].pattern.Covers(string(p.pattern))) {
			out[n-1].absorb(p)
			continue
		}
		out = append(out, p)
	}
	return out
}

// directory is the directory that the files of a pattern are in.
func directory(p PathPattern) string {
	if dir, ok := strings.CutSuffix(string(p), "/**"); ok {
		return dir
	}
	return path.Dir(string(p))
}

// scratchLine proposes limits: twice what was seen, in round numbers.
func (p *filePlace) scratchLine() Scratch {
	s := Scratch{Path: p.pattern, MaxAge: DefaultMaxAge}
	if !p.blind {
		s.MaxAge = roundAge(2 * p.age)
		if p.peak > 0 {
			s.MaxBytes = roundBytes(2 * p.peak)
		}
	}
	return s
}

// roundAge rounds up to a length of time that people write.
func roundAge(d time.Duration) Duration {
	for _, step := range []time.Duration{
		time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, day, 2 * day,
	} {
		if d <= step {
			return Duration(step)
		}
	}
	return Duration((d + day - 1) / day * day)
}

// roundBytes rounds up to a power of two, at least a mebibyte.
func roundBytes(n uint64) Bytes {
	b := uint64(1 << 20)
	for b < n && b < 1<<60 {
		b <<= 1
	}
	return Bytes(b)
}

// seen says what a line rests on.
func (p *filePlace) seen() string {
	s := count(p.files, "file")
	if n := len(p.examples); n > 1 {
		s += fmt.Sprintf(" of %d kinds", n)
	}
	if p.blind {
		return s + ", not seen to go: the age is a guess"
	}
	return s
}
