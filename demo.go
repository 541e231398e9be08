package main

import (
	"context"
	"io"
)

func fillDemo(ctx context.Context, base, token string, out io.Writer) error { return nil }
