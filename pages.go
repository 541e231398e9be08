package main

var templateFuncs = map[string]any{}

func (s *server) addPages(page func(string, handler)) {}
