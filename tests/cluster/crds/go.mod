// Nothing is built from this: it pins the modules whose custom resource definitions the tests apply. `go mod tidy` would
// empty it; `go mod download` in it completes go.sum.
module mcp-gateway-operator/tests/cluster/crds

go 1.26.0

require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.1
)
