#!/usr/bin/env bash
# Kafka Streams with its own system tests, from Maven Central: prints a class path with org.apache.kafka.streams.tests.StreamsEosTest.
# Environment: STREAMS_VERSION (4.1.0)  KAFKA_CACHE (~/.cache/kafka-jars)  MVN (mvn)
set -euo pipefail

VERSION=${STREAMS_VERSION:-4.1.0}
CACHE=${KAFKA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kafka-jars}
JARS=$CACHE/streams-$VERSION

if [ ! -f "$JARS/.complete" ]; then
  mkdir -p "$CACHE"
  tmp=$(mktemp -d "$CACHE/.tmp.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  dependency() { # dependency <group> <artifact> <version> [classifier]
    echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version>${4:+<classifier>$4</classifier>}</dependency>"
  }
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>local</groupId><artifactId>streams-jars</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
    dependency org.apache.kafka kafka-streams "$VERSION"
    dependency org.apache.kafka kafka-streams "$VERSION" test
    dependency org.apache.kafka kafka-clients "$VERSION" test
    dependency org.slf4j slf4j-simple 1.7.36
    echo '</dependencies></project>'
  } >"$tmp/pom.xml"
  ${MVN:-mvn} -q -B -ntp -f "$tmp/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$tmp/jars" >&2
  rm -rf "$JARS"
  mv "$tmp/jars" "$JARS"
  touch "$JARS/.complete"
fi
echo "$JARS/*"
