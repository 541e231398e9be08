# The build runs on the builder's own platform and crosses over to the target's.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags='-s -w' -o /out/chatter . \
 && mkdir -p /out/data /out/tmp && chmod 1777 /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/chatter /chatter
COPY --from=build --chown=1000:1000 /out/data /data
COPY --from=build /out/tmp /tmp
USER 1000:1000
WORKDIR /
ENV ENVIRONMENT=production HOST=0.0.0.0 PORT=8000 DATA_DIR=/data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=6s --start-period=70s CMD ["/chatter", "health"]
ENTRYPOINT ["/chatter"]
CMD ["serve"]
