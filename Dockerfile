# The build runs on the builder's own platform and crosses over to the target's.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION REVISION
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
      -ldflags="-s -w -X main.releaseVersion=$VERSION -X main.releaseRevision=$REVISION" -o /out/chatter . \
 && mkdir -p /out/data /out/tmp && chmod 1777 /out/tmp

# The program is all there is: no shell, no other program, nothing that is written to but /data, and /backup for who
# sets BACKUP_DIR. What it needs of a system beside itself are the certificates to trust; the time zones for TZ are in
# the binary.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/chatter /chatter
COPY --from=build --chown=1000:1000 /out/data /data
COPY --from=build --chown=1000:1000 /out/data /backup
COPY --from=build /out/tmp /tmp
USER 1000:1000
WORKDIR /
ENV ENVIRONMENT=production PORT=8000 DATA_DIR=/data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=6s --start-period=70s CMD ["/chatter", "health"]
ENTRYPOINT ["/chatter"]
CMD ["serve"]
ARG VERSION REVISION
LABEL org.opencontainers.image.title="Chatter" \
      org.opencontainers.image.description="A community back end for maker sites" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
