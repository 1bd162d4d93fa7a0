{{- define "podgate.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* The labels by which the gateway's pods are found. They never change. */ -}}
{{- define "podgate.selector" -}}
app.kubernetes.io/name: podgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "podgate.labels" -}}
{{ include "podgate.selector" . }}
{{ include "podgate.release" . }}
{{- end -}}

{{- define "podgate.webhooks.selector" -}}
app.kubernetes.io/name: podgate-webhooks
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "podgate.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "podgate.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "podgate.fullname" .) -}}
{{- end -}}

{{- /* The reference of an image: a list of its values and the chart. */ -}}
{{- define "podgate.image" -}}
{{- $image := index . 0 -}}
{{- $chart := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default $chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "podgate.hostKeys.secret" -}}
{{- .Values.hostKeys.existingSecret | default (printf "%s-hostkeys" (include "podgate.fullname" .)) -}}
{{- end -}}

{{- define "podgate.webhooks.ca" -}}
{{- .Values.webhooks.caConfigMap | default (printf "%s-webhooks-ca" (include "podgate.fullname" .)) -}}
{{- end -}}

{{- define "podgate.webhooks.tls" -}}
{{- .Values.webhooks.existingTlsSecret | default (printf "%s-webhooks-tls" (include "podgate.fullname" .)) -}}
{{- end -}}

{{- /* Stops a rendering that would make a new secret each time: every cluster has the namespace default. */ -}}
{{- define "podgate.seesCluster" -}}
{{- $what := index . 0 -}}
{{- $key := index . 1 -}}
{{- if not (lookup "v1" "Namespace" "" "default") -}}
{{- fail (printf "%s: Helm cannot see the cluster here (helm template, Argo CD), so the chart would make %s anew at each rendering; create a Secret and name it in %s" $key $what $key) -}}
{{- end -}}
{{- end -}}

{{- /* The gateway's configuration: the operator's over the chart's. */ -}}
{{- define "podgate.config" -}}
{{- $keys := list -}}
{{- range .Values.hostKeys.files -}}
{{- $keys = append $keys (printf "/etc/podgate/hostkeys/%s" .) -}}
{{- end -}}
{{- $own := dict
  "ssh" (dict "listen" "0.0.0.0:2222" "hostkeys" $keys)
  "health" (dict "enable" true "listen" "127.0.0.1:7000")
  "kubernetes" (dict
    "connection" (dict
      "host" "kubernetes.default.svc"
      "cacertFile" "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
      "bearerTokenFile" "/var/run/secrets/kubernetes.io/serviceaccount/token")
    "pod" (dict "metadata" (dict "namespace" .Values.guests.namespace)))
-}}
{{- if .Values.metrics.enabled -}}
{{- $_ := set $own "metrics" (dict "enable" true "listen" "0.0.0.0:9100") -}}
{{- end -}}
{{- if .Values.recordings.enabled -}}
{{- if not .Values.recordings.existingClaim -}}
{{- fail "recordings.existingClaim: name the PersistentVolumeClaim for the recordings, because the gateway's own disk goes with it" -}}
{{- end -}}
{{- $audit := dict "enable" true "format" "binary" "storage" "file" "file" (dict "directory" "/var/log/podgate") -}}
{{- if .Values.recordings.sealKeySecret -}}
{{- $_ := set $audit "sealKey" "/etc/podgate/audit/audit_key" -}}
{{- end -}}
{{- $_ := set $own "audit" $audit -}}
{{- end -}}
{{- if and .Values.agent.fromImage (not (dig "kubernetes" "pod" "disableAgent" false .Values.config)) -}}
{{- $_ := set $own.kubernetes.pod "agentImage" (include "podgate.image" (list .Values.image .Chart)) -}}
{{- end -}}
{{- if .Values.webhooks.enabled -}}
{{- $url := printf "https://%s-webhooks.%s.svc" (include "podgate.fullname" .) .Release.Namespace -}}
{{- $ca := "/etc/podgate/webhooks-ca/ca.crt" -}}
{{- $_ := set $own "auth" (dict "publicKey" (dict "method" "webhook" "webhook" (dict "url" $url "cacert" $ca))) -}}
{{- $_ := set $own "configserver" (dict "url" (printf "%s/config" $url) "cacert" $ca) -}}
{{- end -}}
{{- $config := mergeOverwrite $own (deepCopy .Values.config) -}}
{{- /* What the other objects rely on. */ -}}
{{- if hasKey $config.ssh "listeners" -}}
{{- $_ := unset $config.ssh "listen" -}}
{{- else if not (hasSuffix ":2222" $config.ssh.listen) -}}
{{- fail "config.ssh.listen: the container's port is 2222; the users' port is service.port" -}}
{{- end -}}
{{- if ne $config.kubernetes.pod.metadata.namespace .Values.guests.namespace -}}
{{- fail "config.kubernetes.pod.metadata.namespace: use guests.namespace, which also grants the permissions there" -}}
{{- end -}}
{{- if eq .Values.guests.namespace .Release.Namespace -}}
{{- fail "guests.namespace: must not be the gateway's own namespace, whose Secrets and NetworkPolicies are not for guests" -}}
{{- end -}}
{{- if not (or $config.auth $config.ssh.trustedUserCAKeys) -}}
{{- fail "config.auth: who are the users? Set config.auth.publicKey.webhook.url to your webhook server, or webhooks.enabled=true with webhooks.users" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* The rules of the Role for the modes that are used. */ -}}
{{- define "podgate.rules" -}}
{{- $pod := (fromYaml (include "podgate.config" .)).kubernetes.pod -}}
{{- $mode := $pod.mode | default "connection" -}}
{{- $modes := append .Values.guests.moreModes $mode | uniq -}}
{{- $owns := or (has "connection" $modes) (has "session" $modes) -}}
{{- $claims := and (has "persistent" $modes) (not $pod.shared) -}}
{{- $creates := or $owns $pod.createMissingPods (has "persistent" .Values.guests.moreModes) -}}
{{- $verbs := list "get" "list" "watch" -}}
{{- if $creates -}}{{- $verbs = prepend $verbs "create" -}}{{- end -}}
{{- if $owns -}}{{- $verbs = append $verbs "delete" -}}{{- end -}}
# A pod for each user or connection: find it, wait for it, and where the gateway makes it, create and delete it.
- apiGroups: [""]
  resources: [pods]
  verbs: [{{ join ", " $verbs }}]
# Programs. The gateway opens the WebSocket with a GET request; Kubernetes also requires the verb create.
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
# The reason why a pod does not start.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Each gateway renews its own Lease. If it stops, another gateway removes its pods.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, create, update, delete]
{{- if or $owns $claims }}
# A gateway that was suspended for a long time marks the pods that it still has; in mode persistent, a pod is claimed for its user.
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
{{- end }}
{{- if has "session" $modes }}
# Mode session: the gateway attaches to the program of the pod, and reads its earlier output from the log.
- apiGroups: [""]
  resources: [pods/attach]
  verbs: [get, create]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- end -}}
