{{- /*
The folder objects/ contains Kubernetes objects, which hack/generate writes. The templates below read them and change what
the values ask for. They change the objects in place, and print nothing.
*/}}

{{- /* Reads the objects of .files into the dict .into, with the keys kind/name. An object of a later file replaces an
earlier one. Replaces the words of .replace in their text. */}}
{{- define "objects.read" }}
{{- range $file := .files }}
{{- $text := $.root.Files.Get $file }}
{{- range $word, $replacement := $.replace }}
{{- $text = replace $word $replacement $text }}
{{- end }}
{{- range $document := splitList "\n---\n" $text }}
{{- $object := fromYaml $document }}
{{- $_ := set $.into (printf "%s/%s" $object.kind $object.metadata.name) $object }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Sets the namespace .namespace of every object, and adds labels and annotations. Those of the object win. */}}
{{- define "objects.metadata" }}
{{- range $object := .objects }}
{{- include "objects.add" (dict "to" $object.metadata "key" "labels" "add" $.values.commonLabels) }}
{{- include "objects.add" (dict "to" $object.metadata "key" "annotations" "add" $.values.commonAnnotations) }}
{{- end }}
{{- end }}

{{- /* Adds the entries of .add to the map .key of .to, without those that it has. */}}
{{- define "objects.add" }}
{{- if .add }}
{{- $_ := set .to .key (merge (dict) (default (dict) (index .to .key)) .add) }}
{{- end }}
{{- end }}

{{- /* Merges the map .from into the map .into. Unlike Sprig's functions, it also merges false and 0. */}}
{{- define "objects.merge" }}
{{- range $key, $value := .from }}
{{- $old := index $.into $key }}
{{- if and (kindIs "map" $value) (kindIs "map" $old) }}
{{- include "objects.merge" (dict "into" $old "from" $value) }}
{{- else }}
{{- $_ := set $.into $key $value }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The image that .image names, by digest if it has one. */}}
{{- define "objects.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end }}

{{- /* Changes the Deployment .object as the values .settings, .root.Values.image and .root.Values.common* ask. */}}
{{- define "objects.deployment" }}
{{- $values := .root.Values }}
{{- $settings := .settings }}
{{- $template := .object.spec.template }}
{{- $pod := $template.spec }}
{{- $container := first $pod.containers }}
{{- include "objects.add" (dict "to" .object.metadata "key" "annotations" "add" $settings.annotations) }}
{{- include "objects.add" (dict "to" $template.metadata "key" "labels" "add" $settings.podLabels) }}
{{- include "objects.add" (dict "to" $template.metadata "key" "labels" "add" $values.commonLabels) }}
{{- include "objects.add" (dict "to" $template.metadata "key" "annotations" "add" $settings.podAnnotations) }}
{{- $_ := set .object.spec "replicas" (int $settings.replicas) }}
{{- if le (int $settings.replicas) 1 }}
{{- $_ := unset $pod "topologySpreadConstraints" }}
{{- end }}
{{- range $key := list "affinity" "nodeSelector" "tolerations" }}
{{- with index $settings $key }}
{{- $_ := set $pod $key . }}
{{- end }}
{{- end }}
{{- $_ := unset $pod "priorityClassName" }}
{{- with $settings.priorityClassName }}
{{- $_ := set $pod "priorityClassName" . }}
{{- end }}
{{- if $settings.hostNetwork }}
{{- $_ := set $pod "hostNetwork" true }}
{{- $_ := set $pod "dnsPolicy" "ClusterFirstWithHostNet" }}
{{- end }}
{{- with $values.image.pullSecrets }}
{{- $_ := set $pod "imagePullSecrets" . }}
{{- end }}
{{- with $settings.podSecurityContext }}
{{- $_ := set $pod "securityContext" . }}
{{- end }}
{{- $_ := set $container "image" (include "objects.image" $values.image) }}
{{- $_ := set $container "imagePullPolicy" $values.image.pullPolicy }}
{{- range $key := list "resources" "securityContext" }}
{{- with index $settings $key }}
{{- $_ := set $container $key . }}
{{- end }}
{{- end }}
{{- with $settings.envFrom }}
{{- $_ := set $container "envFrom" . }}
{{- end }}
{{- range $key, $added := dict "args" $settings.extraArgs "env" $settings.env "volumeMounts" $settings.volumeMounts }}
{{- with $added }}
{{- $_ := set $container $key (concat (default (list) (index $container $key)) .) }}
{{- end }}
{{- end }}
{{- with $settings.volumes }}
{{- $_ := set $pod "volumes" (concat $pod.volumes .) }}
{{- end }}
{{- end }}

{{- /* Prints the objects, sorted by kind and name. */}}
{{- define "objects.print" -}}
{{- range $key, $object := . }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
