# SPDX-License-Identifier: Apache-2.0
#
# One image for each binary, with nothing else in it. The binaries are static and come from `make build`, so that
# no registry is needed and the image holds the very file that was tested:
#
#	make image                                        builds and tries both, and leaves them in build/image/
#	docker build --target spoor-agent -t spoor-agent .    the same by hand, after `make build build/image/NOTICES`

# The whole command line: `spoor collector` by default; `spoor up` needs root and the host's namespaces.
FROM scratch AS spoor
COPY bin/spoor /spoor
COPY LICENSE LICENSES build/image/NOTICES /licences/
# For receivers of alerts over HTTPS.
COPY build/image/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 7070
ENTRYPOINT ["/spoor"]
CMD ["collector"]

# The agent and nothing else. It is root, with the few capabilities that its manifest names.
FROM scratch AS spoor-agent
COPY bin/spoor-agent /spoor-agent
COPY LICENSE LICENSES build/image/NOTICES /licences/
COPY build/image/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 0:0
ENTRYPOINT ["/spoor-agent"]
