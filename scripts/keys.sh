# shellcheck shell=bash
# Keys and kubeconfigs of a cluster for tests. Sourced, works in the current directory.

new_key() { # new_key NAME
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
}

new_authority() { # new_authority: the one that the whole cluster trusts
    new_key ca
    openssl req -x509 -new -key ca.key -subj /CN=test-cluster-ca -days 3650 -out ca.crt
}

certify() { # certify NAME SUBJECT EXTENSIONS
    new_key "$1"
    openssl req -new -key "$1.key" -subj "$2" |
        openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile <(printf '%s\n' "$3") -out "$1.crt" 2>/dev/null
}

kubeconfig() { # kubeconfig NAME SERVER: of who was certified under that name
    cat >"$1.kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: test
contexts:
- {name: test, context: {cluster: test, user: $1}}
clusters:
- name: test
  cluster:
    server: $2
    certificate-authority-data: $(base64 <ca.crt | tr -d '\n')
users:
- name: $1
  user:
    client-certificate-data: $(base64 <"$1.crt" | tr -d '\n')
    client-key-data: $(base64 <"$1.key" | tr -d '\n')
END
}
