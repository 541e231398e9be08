package main

import "context"

func (c config) canMail() bool { return !c.production }
func (s *server) sendMail(ctx context.Context, db querier, to, template string, data any, headers ...string) error {
	return nil
}
