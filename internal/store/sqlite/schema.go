// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite" of database/sql
)

//go:embed migrations/*.sql
var migrations embed.FS

// latest is the version that stands for the newest schema.
const latest = -1

// migrate brings the file to a version of the schema, up or down; zero is an empty file.
func migrate(ctx context.Context, path string, version int64) (err error) {
	source := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the file system does not allow a write-ahead log (journal_mode is %s)", mode)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	goose, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return err
	}
	current, target, err := goose.GetVersions(ctx)
	if err != nil {
		return err
	}
	if version == latest {
		version = target
	}
	switch {
	case current > target:
		return fmt.Errorf("written by a newer version of this program (schema %d, known up to %d)", current, target)
	case current > version:
		_, err = goose.DownTo(ctx, version)
	case current < version:
		_, err = goose.UpTo(ctx, version)
	}
	return err
}
