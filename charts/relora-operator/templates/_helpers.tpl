{{- define "relora-operator.name" -}}
{{- if hasSuffix "operator" .Release.Name }}
{{- .Release.Name }}
{{- else }}
{{- printf "%s-operator" .Release.Name }}
{{- end }}
{{- end }}

{{- define "relora-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "relora-operator.labels" -}}
{{ include "relora-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: relora
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
