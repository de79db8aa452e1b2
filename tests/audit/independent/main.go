// Check an evidence pack's checkpoint and leaves with Go's own packages: sumdb/note and sumdb/tlog. No code of the portal.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type proof struct {
	Index *int64   `json:"index"`
	Path  []string `json:"path"`
	First int64    `json:"first"`
	End   int64    `json:"end"`
	Left  []string `json:"left"`
	Right []string `json:"right"`
}

func fail(format string, arguments ...any) {
	fmt.Printf(format+"\n", arguments...)
	os.Exit(1)
}

func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func hashes(texts []string) []tlog.Hash {
	found := []tlog.Hash{}
	for _, text := range texts {
		found = append(found, must(tlog.ParseHash(text)))
	}
	return found
}

// leaf reads the two lines of one leaf and hashes them.
func leaf(lines *bufio.Reader) tlog.Hash {
	first, second := must(lines.ReadBytes('\n')), must(lines.ReadBytes('\n'))
	return tlog.RecordHash(append(first, bytes.TrimSuffix(second, []byte("\n"))...))
}

// run is the root over the leaves before `first` (by the frontier `left`) and those up to `end`.
func run(lines *bufio.Reader, first, end int64, left []tlog.Hash) tlog.Hash {
	stack := left
	for at := first; at < end; at++ {
		found := leaf(lines)
		for rest := at; rest&1 == 1; rest >>= 1 {
			found = tlog.NodeHash(stack[len(stack)-1], found)
			stack = stack[:len(stack)-1]
		}
		stack = append(stack, found)
	}
	root := stack[len(stack)-1]
	for at := len(stack) - 2; at >= 0; at-- {
		root = tlog.NodeHash(stack[at], root)
	}
	return root
}

func main() {
	folder, key := os.Args[1], os.Args[2]
	verifier := must(note.NewVerifier(key))
	opened := must(note.Open(must(os.ReadFile(filepath.Join(folder, "checkpoint"))), note.VerifierList(verifier)))
	text := strings.Split(opened.Text, "\n")
	size := must(strconv.ParseInt(text[1], 10, 64))
	var root tlog.Hash
	copy(root[:], must(base64.StdEncoding.DecodeString(text[2])))
	leaves := bufio.NewReader(must(os.Open(filepath.Join(folder, "leaves.txt"))))
	proofs := bufio.NewReader(must(os.Open(filepath.Join(folder, "proofs.jsonl"))))
	count := int64(0)
	for {
		line, err := proofs.ReadBytes('\n')
		if err != nil {
			break
		}
		var found proof
		if err := json.Unmarshal(line, &found); err != nil {
			fail("%v", err)
		}
		if found.Index != nil {
			if err := tlog.CheckRecord(hashes(found.Path), size, root, *found.Index, leaf(leaves)); err != nil {
				fail("leaf %d: %v", *found.Index, err)
			}
			count++
			continue
		}
		computed := run(leaves, found.First, found.End, hashes(found.Left))
		if found.End == size {
			if computed != root {
				fail("leaves %d to %d do not give the root", found.First, found.End-1)
			}
		} else if err := tlog.CheckTree(hashes(found.Right), size, root, found.End, computed); err != nil {
			fail("leaves %d to %d: %v", found.First, found.End-1, err)
		}
		count += found.End - found.First
	}
	if _, err := leaves.ReadByte(); err == nil {
		fail("more leaves than proofs")
	}
	fmt.Printf("%d leaves are in the tree of %d that %s signed\n", count, size, verifier.Name())
}
