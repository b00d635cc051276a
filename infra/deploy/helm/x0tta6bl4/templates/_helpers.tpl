{{- define "x0.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end -}}

{{- define "x0.select" -}}
app.kubernetes.io/name: x0tta6bl4
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "x0.labels" -}}
{{ include "x0.select" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "x0.image" -}}
{{- $one := .image -}}
{{ $one.repository }}{{ if $one.digest }}@{{ $one.digest }}{{ else }}:{{ $one.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end -}}

{{- define "x0.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "x0.prefect" -}}
{{- if .Values.prefect.enabled -}}http://{{ include "x0.name" . }}-prefect.{{ .Release.Namespace }}.svc:4200/api{{- else -}}{{ required "prefect.url: say where Prefect's API is, or set prefect.enabled" .Values.prefect.url }}{{- end -}}
{{- end -}}

{{- define "x0.gateway" -}}
{{- .Values.node.gatewayUrl | default (printf "http://%s-gateway.%s.svc:8080" (include "x0.name" .) .Release.Namespace) -}}
{{- end -}}

{{- define "x0.env" -}}
- { name: X0_MESH, value: {{ .Values.mesh | quote }} }
- { name: PREFECT_API_URL, value: {{ include "x0.prefect" . | quote }} }
- name: DATABASE_URL
  valueFrom: { secretKeyRef: { name: {{ .Values.secrets.connections }}, key: DATABASE_URL } }
- name: PREFECT_API_AUTH_STRING
  valueFrom: { secretKeyRef: { name: {{ .Values.secrets.connections }}, key: PREFECT_AUTH } }
{{- end -}}

{{- define "x0.more" -}}
{{- range $name, $value := . }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end -}}

{{/* No token of the cluster's API, and no variables of its Services: those of a release called x0 or prefect would be read
as settings, X0_PREFECT_PORT=tcp://10.0.0.1:4200. */}}
{{- define "x0.alone" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- end -}}

{{- define "x0.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "x0.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* The agent touches a file every five seconds; its age is the health of whatever the agent keeps. */}}
{{- define "x0.alive" -}}
startupProbe:
  exec: { command: [sh, -c, '[ -n "$(find "$X0_STATE/alive" -newermt "-30 seconds")" ]'] }
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  exec: { command: [sh, -c, '[ -n "$(find "$X0_STATE/alive" -newermt "-30 seconds")" ]'] }
  periodSeconds: 15
  timeoutSeconds: 5
{{- end -}}

{{- define "x0.keyMounts" -}}
{{- if .Values.secrets.keys }}
{{- range (list "control.key" "licence.key") }}
- { name: keys, mountPath: /var/lib/x0tta6bl4/{{ . }}, subPath: {{ . }}, readOnly: true }
{{- end }}
{{- end }}
{{- end -}}

{{- define "x0.keyVolume" -}}
{{- with .Values.secrets.keys }}
- { name: keys, secret: { secretName: {{ . }}, defaultMode: 0440 } }
{{- end }}
{{- end -}}

{{/* What the operator wrote for us to read: places of nodes, and the list of plans. */}}
{{- define "x0.declaredMounts" -}}
{{- if .Values.places }}
- { name: places, mountPath: /etc/x0tta6bl4/nodes, readOnly: true }
{{- end }}
{{- if .Values.plans }}
- { name: plans, mountPath: /etc/x0tta6bl4/shop, readOnly: true }
{{- end }}
{{- end -}}

{{- define "x0.declaredVolumes" -}}
{{- with .Values.places }}
- { name: places, configMap: { name: {{ . }} } }
{{- end }}
{{- with .Values.plans }}
- { name: plans, configMap: { name: {{ . }}, items: [{ key: plans.yaml, path: plans.yaml }] } }
{{- end }}
{{- end -}}

{{- define "x0.plansEnv" -}}
{{- if .Values.plans }}
- { name: X0_PLANS, value: /etc/x0tta6bl4/shop/plans.yaml }
{{- end }}
{{- end -}}

{{- define "x0.shop" -}}
{{- with .Values.secrets.shop }}
envFrom: [{ secretRef: { name: {{ . }} } }]
{{- end }}
{{- end -}}
