# Chatter's commands; `make help` lists them.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.1.4
VULNDB = golang.org/x/vulndb@latest
# The Go of releases, whatever this machine has: the same on every machine, and the newest patch release.
RELEASE_GO = go1.26.10
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)
URL ?= http://localhost:8000

.DEFAULT_GOAL := help
.PHONY: help run demo test browser-test screenshots cover build bench-takeover bench load scale footprint chaos release vulncheck image image-test up down logs backup restore attack clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# need CHECK, PACKAGES: where CHECK fails, installs Debian packages, as root or
# with sudo, and says so.
define need
@if ! { $(1); } >/dev/null 2>&1; then \
	echo "Missing on this machine, installing with apt-get: $(2)"; \
	if [ "$$(id -u)" = 0 ]; then as=""; \
	elif command -v sudo >/dev/null; then as=sudo; \
	else echo "Please have an administrator run: apt-get install $(2)" >&2; exit 1; fi; \
	command -v apt-get >/dev/null || { echo "There is no apt-get here; please install: $(2)" >&2; exit 1; }; \
	$$as apt-get update -qq && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); \
fi
endef

has-postgres = { command -v postgres && command -v initdb; } || ls /usr/lib/postgresql/*/bin/initdb

# Chromium, Node.js and the modules of browser/, which only its tests need. A
# Node.js that did not come with Debian has its own npm, beside which Debian's can't be installed.
define need-browser
$(call need,command -v chromium,chromium)
$(call need,command -v node && command -v npm,nodejs npm)
@cd browser && { cmp -s package-lock.json node_modules/.lock || { npm ci --no-audit --no-fund && cp package-lock.json node_modules/.lock; }; }
endef

has-samba = { command -v smbd || ls /usr/sbin/smbd; } && command -v smbpasswd

has-proxies = { command -v nginx || ls /usr/sbin/nginx; } && command -v caddy

run: ## build and start the server on http://localhost:8000
	$(if $(DATABASE_URL),,$(call need,$(has-postgres),postgresql))
	@$(MAKE) --no-print-directory build
	@exec ./chatter serve

build: ## build the static binary ./chatter
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o chatter .

demo: build ## fill the running server (URL=…) with a small demo site
	@./chatter demo $(URL)

test: ## vet, staticcheck and all tests, against a PostgreSQL and a Samba of their own
	$(call need,$(has-postgres),postgresql)
	$(call need,command -v gcc,gcc libc6-dev)
	$(call need,command -v promtool,prometheus)
	$(call need,command -v zbarimg && command -v oathtool,zbar-tools oathtool)
	$(call need,$(has-samba),samba)
	$(call need,$(has-proxies),nginx-light caddy)
	$(call need,command -v pgbouncer || ls /usr/sbin/pgbouncer,pgbouncer)
	$(call need,command -v systemd-analyze,systemd)
	$(need-browser)
	go vet ./...
	go run $(STATICCHECK) ./...
	go test -race -timeout 40m ./...

browser-test: ## walk through the pages in Chromium (ONLY=name: one journey)
	$(call need,$(has-postgres),postgresql)
	$(need-browser)
	CI=1 ONLY='$(ONLY)' go test -run '^TestBrowser$$' -count=1 -v -timeout 20m .

screenshots: ## make the pictures in docs/screenshots anew
	$(call need,$(has-postgres),postgresql)
	$(need-browser)
	CI=1 SCREENSHOTS=$(CURDIR)/docs/screenshots go test -run '^TestScreenshots$$' -count=1 -v -timeout 20m .

cover: ## which statements the tests reach
	go test -coverprofile=coverage.out ./...
	go tool cover -func=coverage.out | tail -n 1

bench-takeover: ## measure taking over a large database of the older service
	$(call need,$(has-postgres),postgresql)
	go test -run '^$$' -bench Takeover -benchtime 1x -timeout 60m .

bench: ## measure projects, the storage and the pictures, beside smbclient, cp, zip and vipsthumbnail
	$(call need,$(has-postgres),postgresql)
	$(call need,$(has-samba),samba)
	$(call need,command -v smbclient,smbclient)
	$(call need,command -v vipsthumbnail,libvips-tools)
	$(call need,command -v zip && command -v curl,zip curl)
	go test -run '^$$' -bench 'Projects' -benchtime 20x -timeout 30m .
	go test -run '^$$' -bench 'NAS|Local|Transfers|Pictures|ZIP' -benchtime 3x -timeout 30m .

load: ## measure requests per second beside bare handlers and pgbench
	$(call need,$(has-postgres),postgresql)
	$(call need,command -v wrk,wrk)
	go test -run '^$$' -bench Load -benchtime 1x -timeout 30m .

scale: ## measure how speed holds with many rows, and others while many sign in
	$(call need,$(has-postgres),postgresql)
	$(call need,command -v wrk,wrk)
	go test -run '^$$' -bench 'Scale|SignIns' -benchtime 1x -timeout 60m .

footprint: ## measure how soon the server is ready and what memory it takes
	$(call need,$(has-postgres),postgresql)
	$(call need,command -v wrk,wrk)
	go test -run '^$$' -bench Footprint/start -benchtime 11x -timeout 30m .
	go test -run '^$$' -bench Footprint/load -benchtime 1x -timeout 30m .

CHAOS ?= 100

chaos: ## break what the server stands on while it is written to, and count what is lost (ONLY=NAS: of that alone)
	$(call need,$(has-postgres),postgresql)
	$(call need,$(has-samba),samba)
	$(call need,command -v nginx || ls /usr/sbin/nginx,nginx-light)
	CI=1 CHAOS=$(CHAOS) ONLY='$(ONLY)' go test -run '^(TestChaos|TestTwoInstances)$$' -count=1 -v -timeout 60m .

FUZZTIME ?= 10m

attack: ## fuzz whatever reads foreign input (FUZZTIME=10m each), try SQL injection, and see how time grows with length
	$(call need,$(has-postgres),postgresql)
	$(call need,command -v sqlmap,sqlmap)
	$(call need,$(has-proxies),nginx-light caddy)
	$(need-browser)
	ATTACK=1 CI=1 go test -run '^(TestSQLInjection|TestTimeGrowsWithLength|TestScriptsInTexts|TestNginx|TestCaddy)$$' -count=1 -v -timeout 3h .
	@for target in $$(go test -list '^Fuzz' . | grep '^Fuzz'); do echo "$$target"; \
		go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -timeout 0 . || exit 1; done

# release SOURCE, TARGET, ENVIRONMENT: builds the binaries of a release into a folder.
define release
	@mkdir -p $(2)
	@for arch in amd64 arm64; do (cd $(1) && $(3) GOTOOLCHAIN=$(RELEASE_GO) CGO_ENABLED=0 GOOS=linux GOARCH=$$arch \
		go build -trimpath -ldflags='-s -w -X main.releaseVersion=$(VERSION)' -o $(abspath $(2))/chatter-$(VERSION)-linux-$$arch .) || exit 1; done
	@cd $(2) && sha256sum chatter-* > SHA256SUMS
endef

release: ## build dist/ for linux on amd64 and arm64, twice, and see that both are the same
	@test -z "$$(git status --porcelain)" || { echo "A release is built from a commit, and there are changes that are not committed." >&2; exit 1; }
	@rm -rf dist
	@git clone -q . dist/once/source && git clone -q . dist/again/source
	$(call release,dist/once/source,dist)
	@echo "Building it again, elsewhere and with an empty cache"
	$(call release,dist/again/source,dist/again/binaries,GOCACHE=$(abspath dist/again/cache))
	@cmp dist/SHA256SUMS dist/again/binaries/SHA256SUMS
	@rm -rf dist/once dist/again
	@cat dist/SHA256SUMS

vulncheck: ## look the modules and the Go of releases up in Go's list of known vulnerabilities, which is a module too
	@list=$$(go mod download -json $(VULNDB) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p'); \
	test -n "$$list" || { echo "Nothing was checked, because the list can't be had." >&2; exit 1; }; \
	echo "The list is $${list##*@}"; GOTOOLCHAIN=$(RELEASE_GO) go run $(GOVULNCHECK) -db "file://$$list/data/osv" ./...

image: ## build the container image chatter:latest
	docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t chatter:latest .

image-test: ## build the image for amd64 and arm64 without Docker, and try it (needs root)
	$(call need,$(has-postgres),postgresql)
	$(call need,command -v buildah && command -v busybox,buildah busybox-static)
	IMAGE=1 go test -run '^TestImage$$' -count=1 -v -timeout 30m .

# The containers read the settings from .env; COMPOSE_PROFILES, there or here, says what is started beside Chatter.
up: ## start compose.yaml in the background (COMPOSE_PROFILES=postgres,nginx,samba)
	VERSION=$(VERSION) REVISION=$(REVISION) docker compose up --detach --build --wait

down: ## stop and remove the containers; the data stays in its volumes
	docker compose --profile '*' down

logs: ## follow the containers' logs
	docker compose --profile '*' logs --follow --tail=100

in-compose = test -n "$$(docker compose ps --quiet --status running chatter 2>/dev/null)"

backup: ## back up into FILE=…, of the containers, or else of the server on this machine
	@file='$(FILE)'; file=$${file:-chatter-$$(date -u +%Y%m%dT%H%M%SZ).tar}; \
	if $(in-compose); then umask 077; docker compose exec -T chatter /chatter backup - >"$$file.part" && mv "$$file.part" "$$file" || { rm -f "$$file.part"; exit 1; }; \
	else ./chatter backup "$$file"; fi

restore: ## bring FILE=… back into an empty database and storage, in the containers where .env is made for them, or else on this machine
	@test -n '$(FILE)' || { echo "Say which backup: make restore FILE=chatter.tar" >&2; exit 1; }
	@if $(in-compose); then echo "Chatter is running. Stop it (docker compose stop chatter), and give it an empty database and storage." >&2; exit 1; fi
	@if { docker info && docker compose config --quiet; } >/dev/null 2>&1; then docker compose run --rm -T chatter restore - <'$(FILE)'; else ./chatter restore '$(FILE)'; fi

clean: ## remove what was built; the data stays
	rm -rf chatter coverage.out dist
