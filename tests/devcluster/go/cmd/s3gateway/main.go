// s3gateway serves a folder by the S3 protocol: Versity's gateway with its POSIX backend, and no cloud backend.
//
//	ROOT_ACCESS_KEY=… ROOT_SECRET_KEY=… s3gateway ADDRESS:PORT FOLDER
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: ROOT_ACCESS_KEY=… ROOT_SECRET_KEY=… s3gateway ADDRESS:PORT FOLDER")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, os.Args[1], os.Args[2]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "s3gateway:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, address, folder string) error {
	attributes := meta.XattrMeta{}
	if err := attributes.Test(folder); err != nil {
		return fmt.Errorf("the file system of %s must keep extended attributes: %w", folder, err)
	}
	backend, err := posix.New(folder, attributes, posix.PosixOpts{Concurrency: 5000, CopyObjectThreshold: 5 << 30})
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
		RootUserAccess:    os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:    os.Getenv("ROOT_SECRET_KEY"),
		Ports:             []string{address},
		MaxConnections:    10000,
		MaxRequests:       10000,
		MultipartMaxParts: 10000,
		Quiet:             true,
		KeepAlive:         true,
		HealthPath:        "/healthz",
	})
}
