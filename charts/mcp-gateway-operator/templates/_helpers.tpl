{{/*
Names are fixed, and not made of the release's: gateways' NetworkPolicies let the operator in by its label, and a second operator in one
namespace, or a second one for the whole cluster, would fight with the first. Helm refuses both by the names.
*/}}
{{- define "operator.name" -}}
mcp-operator
{{- end }}

{{/* The one label that selects the operator's pods: no other pod of the namespace may have it. */}}
{{- define "operator.selector" -}}
app.kubernetes.io/name: {{ include "operator.name" . }}
{{- end }}

{{/* Labels of every object but pods. */}}
{{- define "operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mcp-gateway-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* An image by its digest where there is one, else by its tag, else in this chart's version. Takes (dict "image" … "root" $). */}}
{{- define "operator.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What the `restricted` Pod Security Standard asks of a pod, and more. The image names its user, so any cluster may choose another. */}}
{{- define "operator.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "operator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
