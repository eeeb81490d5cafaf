// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"path"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// fileKind is what a file seems to be, why, and what to do about it in a stateless workload.
type fileKind struct {
	class Class
	// What it was told by, in words that end "because ..."; nil for ClassData.
	reasons []string
	// "" where nothing better is known than a backing service.
	advice string
}

// behaviour is what a file was seen to do.
type behaviour struct {
	// How often whole pages of it changed and its size did not.
	overwrites int
	// A journal or write-ahead log was seen beside it.
	journal bool
}

// minOverwrites is how often a file is overwritten in place before it is taken for a database.
const minOverwrites = 4

// The page size of nearly all embedded databases, or a divisor of it.
const databasePage = 4096

// family is the pattern of the files that are one matter: those of one sort in one place, whatever their names say.
func (k fileKind) family(name string) PathPattern {
	pattern := Generalise(name)
	dir := path.Dir(string(pattern))
	if k.class == ClassUpload && dir != "/" && dir != "." {
		return PathPattern(dir + "/*")
	}
	return pattern
}

// ruleOf is the rule that speaks of files of a class, where a stateless workload must not keep them.
func ruleOf(c Class) string {
	switch c {
	case ClassDatabase:
		return RuleStateDatabase
	case ClassSession, ClassUpload:
		return RuleStateSession
	case ClassLog:
		return RuleStateLog
	default:
		return RuleStateLocal
	}
}

// journals are what embedded databases put behind a file's name for its journal.
var journals = []string{"-wal", "-shm", "-journal"}

// journalOf returns the database whose journal a file is.
func journalOf(name string) (string, bool) {
	for _, suffix := range journals {
		if base, ok := strings.CutSuffix(name, suffix); ok && !strings.HasSuffix(base, "/") {
			return base, true
		}
	}
	return "", false
}

// overwritten counts a write that changed content and not the size, if the file is made of pages.
func (f *file) overwritten(w *spoorv1.FileWrite) {
	size := w.GetSizeAfter()
	if !w.GetData() || size == 0 || size != f.size || size%databasePage != 0 {
		return
	}
	f.behaviour.overwrites++
	if f.behaviour.overwrites == minOverwrites {
		f.kind = classify(f.names[0], f.behaviour)
	}
}

// The advice that several kinds of files share.
const (
	toServer    = "Use a database server, or give the database a persistent volume and make this a StatefulSet."
	noRedisDisk = `Turn persistence off (save "", appendonly no), or make this a StatefulSet with a volume.`
	noByteCode  = "Set PYTHONDONTWRITEBYTECODE=1, or compile the byte code into the image."
	toStdout    = "Write logs to standard output, where the platform collects them."
	shareThem   = "Keep sessions in a shared store or in a signed cookie."
)

// clue is what part of a path tells.
type clue struct {
	part   string
	class  Class
	advice string
}

// endClues tell by the end of the name, without the numbers of rotated files. The first that fits counts.
var endClues = []clue{
	{".pyc", ClassCache, noByteCode},
	{".hprof", ClassData, "Set -XX:HeapDumpPath to a scratch path."},
	{".log", ClassLog, toStdout},
	{".pid", ClassLock, "A supervised service needs no pid file: leave it out of the configuration, or put it into a scratch path."},
	{".lock", ClassLock, "A lock on one node does not hold for replicas elsewhere: take it in a shared store."},
	{".rdb", ClassDatabase, noRedisDisk},
	{".aof", ClassDatabase, noRedisDisk},
	{".db", ClassDatabase, toServer},
	{".sqlite", ClassDatabase, toServer},
	{".mdb", ClassDatabase, toServer},
	{".wal", ClassDatabase, toServer},
	{"/binlog", ClassDatabase, toServer},
	{"/ibtmp", ClassDatabase, toServer},
	{"/undo", ClassDatabase, toServer},
	{".MYD", ClassDatabase, toServer},
	{".MAI", ClassDatabase, toServer},
	{".MAD", ClassDatabase, toServer},
	{".bolt", ClassDatabase, toServer},
	{".sst", ClassDatabase, toServer},
	{".ldb", ClassDatabase, toServer},
	{".ibd", ClassDatabase, toServer},
	{".vlog", ClassDatabase, toServer},
}

// partClues tell by a directory, or by how the name begins.
var partClues = []clue{
	{"/pg_", ClassDatabase, toServer},
	{"/ib_logfile", ClassDatabase, toServer},
	{"/aria_log", ClassDatabase, toServer},
	{"/member/snap/", ClassDatabase, toServer},
	{"/appendonlydir/", ClassDatabase, noRedisDisk},
	{"/templates_c/", ClassCache, "Compile templates when the image is built, or put them into a scratch path."},
	{"/MANIFEST-", ClassDatabase, toServer},
	{"/ibdata", ClassDatabase, toServer},
	{"/__pycache__/", ClassCache, noByteCode},
	{"/.npm/", ClassCache, "Set npm_config_cache to a scratch path, and install packages when the image is built."},
	{"/.cache/", ClassCache, "Set XDG_CACHE_HOME to a scratch path."},
	{"/cache/", ClassCache, "A cache belongs in a scratch path, or in a shared one such as Redis."},
	{"/sess_", ClassSession, "Set session.save_handler to a shared store."},
	{"/sessions/", ClassSession, shareThem},
	{"/session/", ClassSession, shareThem},
	{"/uploads/", ClassUpload, "Put uploads into object storage."},
	{"/upload/", ClassUpload, "Put uploads into object storage."},
	{"/hsperfdata_", ClassCache, "Start Java with -XX:-UsePerfData."},
	{"/hs_err_pid", ClassLog, "Set -XX:ErrorFile to a scratch path."},
	{"/.bash_history", ClassLog, "Set HISTFILE=/dev/null; and ask who had a shell there."},
	{"/.python_history", ClassLog, "Set PYTHON_HISTORY=/dev/null; and ask who had a shell there."},
	{"/log/", ClassLog, toStdout},
	{"/logs/", ClassLog, toStdout},
}

// classify says what a file seems to be, from its name and from what it was seen to do. Behaviour that names deny
// counts for more: a log does not have a journal.
func classify(name string, b behaviour) fileKind {
	k := fileKind{class: ClassData}
	base, isJournal := journalOf(name)
	if isJournal {
		k = fileKind{ClassDatabase, []string{"its name is that of a journal beside a database"}, toServer}
		name = base
	}
	stem := strings.TrimRight(name, "0123456789.")
	for _, c := range endClues {
		if strings.HasSuffix(stem, c.part) {
			k = k.with(c, fmt.Sprintf("its name ends with %s", c.part))
			break
		}
	}
	if k.class == ClassData && k.advice == "" {
		for _, c := range partClues {
			if strings.Contains(name, c.part) {
				k = k.with(c, fmt.Sprintf("its path holds %s", c.part))
				break
			}
		}
	}
	switch {
	case b.journal && k.class != ClassDatabase:
		k = fileKind{ClassDatabase, []string{"a journal or write-ahead log lies beside it"}, toServer}
	case b.journal:
		k.reasons = append(k.reasons, "a journal or write-ahead log lies beside it")
	case b.overwrites >= minOverwrites && k.class == ClassData:
		k = fileKind{ClassDatabase, []string{fmt.Sprintf("it is made of whole pages that were overwritten in place %d times", b.overwrites)}, toServer}
	}
	return k
}

func (k fileKind) with(c clue, reason string) fileKind {
	if k.class == ClassDatabase && c.class != ClassDatabase {
		return k // a journal's database may be called anything
	}
	k.class, k.advice = c.class, c.advice
	if c.class != ClassData {
		k.reasons = append(k.reasons, reason)
	}
	return k
}
