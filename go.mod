module horde

go 1.26

require pgregory.net/rapid v1.3.0

require github.com/go-json-experiment/json v1.27.2

require github.com/klauspost/compress v1.20.4
