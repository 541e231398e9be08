package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
)

// storedNames are the names that the database has for the files of each folder.
var storedNames = []struct{ folder, sql string }{
	{pictureFolder, `select profile_picture from "user" where profile_picture <> '' order by 1`},
	{fileFolder, `select filename from project_file order by 1`},
	{imageFolder, `select filename from project_image order by 1`},
}

// importMedia copies the older service's upload folders below from into the
// storage, each file checked by its SHA-256 after the copy, and prints a line
// for each. What is there already is left alone, so that it can run again. It
// also prints what the database names and no folder holds, and what a folder
// holds and nothing names; neither is an error. A file that is there with other
// bytes is one, and is not replaced.
func (s *server) importMedia(ctx context.Context, from string, out io.Writer) error {
	if info, err := os.Stat(from); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is no folder; name the one that holds profile_pictures and projects", from)
	}
	var copied, present, missing, unnamed, different int
	for _, kind := range storedNames {
		rows, err := s.db.Query(ctx, kind.sql)
		if err != nil {
			return err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			source := filepath.Join(from, kind.folder, filepath.Base(name))
			state, sum, err := s.importFile(ctx, kind.folder, filepath.Base(name), source)
			if err != nil {
				return fmt.Errorf("%s: %w", source, err)
			}
			switch state {
			case "copied":
				copied++
			case "present":
				present++
			case "missing":
				missing++
			case "different":
				different++
			}
			fmt.Fprintf(out, "%-9s %s/%s %s\n", state, kind.folder, filepath.Base(name), sum)
		}
		known := map[string]bool{}
		for _, name := range names {
			known[filepath.Base(name)] = true
		}
		entries, err := os.ReadDir(filepath.Join(from, kind.folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() && !known[e.Name()] {
				unnamed++
				fmt.Fprintf(out, "%-9s %s/%s is in the folder, but the database does not name it\n", "unnamed", kind.folder, e.Name())
			}
		}
	}
	fmt.Fprintf(out, "%d copied, %d there already, %d named by the database but found nowhere, %d in the folders but named by nothing\n", copied, present, missing, unnamed)
	if different > 0 {
		return fmt.Errorf("%d files are in the storage with other bytes than in %s; look at the lines that start with «different» and keep the right ones", different, from)
	}
	return nil
}

// importFile copies one file. state is "copied", "present" when the storage has
// the same bytes, "different" when it has others, and "missing" when neither
// place has the file; sum is the SHA-256 in hexadecimal.
func (s *server) importFile(ctx context.Context, folder, name, source string) (state, sum string, err error) {
	stored, err := s.checksum(ctx, folder, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	f, err := os.Open(source)
	if errors.Is(err, fs.ErrNotExist) {
		if stored != "" {
			return "present", stored, nil
		}
		return "missing", "", nil
	}
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	if stored != "" {
		if sum, _, err = checksumOf(f); err == nil && sum != stored {
			return "different", stored, nil
		}
		return "present", stored, err
	}
	up, err := s.storage.stage(folder, f, math.MaxInt64-1)
	if err != nil {
		return "", "", err
	}
	defer up.drop()
	if _, err := s.storage.place(ctx, up, folder, name); err != nil {
		return "", "", err
	}
	if stored, err = s.checksum(ctx, folder, name); err == nil && stored != up.sha256 {
		err = errors.Join(errors.New("the copy is not the same as the file"), s.storage.remove(ctx, folder, name))
	}
	if err == nil {
		_, err = s.db.Exec(ctx, `update media_file set size = $3, sha256 = $4 where folder = $1 and name = $2`, folder, name, up.size, up.sha256)
	}
	return "copied", up.sha256, err
}

// checksum is the SHA-256 of a stored file, in hexadecimal.
func (s *server) checksum(ctx context.Context, folder, name string) (string, error) {
	f, err := s.storage.open(ctx, folder, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, _, err := checksumOf(f)
	return sum, err
}
