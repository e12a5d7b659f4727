// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// latest is the version that stands for the newest schema.
	latest = -1
	// migrationLock is the number of the lock that lets one node at a time look at the schema and change it.
	migrationLock = 0x686f726465 // "horde"
)

// migrate brings the database to a version of the schema, up or down; zero is an empty one.
func migrate(ctx context.Context, config *pgx.ConnConfig, version int64) (err error) {
	lock, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close(context.WithoutCancel(ctx))) }() // which lets go of the lock
	if _, err := lock.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	goose, err := goose.NewProvider(goose.DialectPostgres, db, files)
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
