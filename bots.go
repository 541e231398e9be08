package main

import (
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// botsText is the list of bots that Chatter brings.
//
//go:embed bots.txt
var botsText string

// botList tells programs from readers by their user agent.
type botList struct {
	patterns []botPattern
	innocent *strings.Replacer // cuts out what only looks like a bot
}

// botPattern is a text in lower case that gives a bot away, and the reason that
// admins are shown for it.
type botPattern struct{ reason, text string }

// noAgent is the pattern of a request that has no user agent, which every
// browser sends.
var noAgent = botPattern{"no user agent", ""}

// loadBots reads the operator's list, bots.txt in dataDir, or the one that
// Chatter brings.
func loadBots(dataDir string) (botList, error) {
	own, err := os.ReadFile(filepath.Join(dataDir, "bots.txt"))
	if errors.Is(err, fs.ErrNotExist) {
		return parseBots(botsText), nil
	}
	return parseBots(strings.ToValidUTF8(string(own), "")), err
}

// parseBots reads a list: a text a line, under headings of [reason]; # starts a
// comment, ! a text that is cut out before the others are looked for.
func parseBots(list string) (bots botList) {
	reason := "on the list"
	var innocent []string
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '!':
			innocent = append(innocent, strings.ToLower(line[1:]), "")
		case line[0] == '[' && line[len(line)-1] == ']':
			reason = line[1 : len(line)-1]
		default:
			bots.patterns = append(bots.patterns, botPattern{reason, strings.ToLower(line)})
		}
	}
	bots.innocent = strings.NewReplacer(innocent...)
	return bots
}

// find returns the first pattern that one of the agents holds. Without any
// agent it is noAgent.
func (l botList) find(agents ...string) (p botPattern, isBot bool) {
	none := true
	for i, agent := range agents {
		if agent == "" || i > 0 && agent == agents[0] {
			continue
		}
		none = false
		agent = l.innocent.Replace(strings.ToLower(agent))
		for _, p := range l.patterns {
			if strings.Contains(agent, p.text) {
				return p, true
			}
		}
	}
	return noAgent, none
}
