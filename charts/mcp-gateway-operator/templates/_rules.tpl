{{/* What the operator may do in each namespace that it looks after. The same in both modes; a cluster's namespaces come on top. */}}
{{- define "operator.rules" -}}
- apiGroups: [gateway.mcp-operator.dev]
  resources: [mcpgateways, mcpbackends, mcproutes, mcpauthpolicies]
  verbs: [get, list, watch]
- apiGroups: [gateway.mcp-operator.dev]
  resources: [mcpgateways/status, mcpbackends/status, mcproutes/status, mcpauthpolicies/status]
  verbs: [patch]
# Watched by their metadata; read by name where an object of ours refers to them.
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.gatewayAPI.enabled }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- range .Values.serverKinds }}
# Servers of another operator, which a serverRef may name.
- apiGroups: [{{ .group }}]
  resources: [{{ .resource }}]
  verbs: [list, watch]
{{- end }}
{{- end }}
