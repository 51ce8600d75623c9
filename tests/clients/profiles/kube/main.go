// The certificates of a cluster, judged by kube-apiserver's own authenticators and by TLS as client-go sets it up.
//
//	kube client ROOT CHAIN USER [GROUP…]   --client-ca-file: the user that the API server takes the certificate for
//	kube proxy ROOT CHAIN NAME             --requestheader-client-ca-file with --requestheader-allowed-names NAME
//	kube server ROOT CHAIN KEY NAME…       a handshake for each name with --certificate-authority ROOT alone
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	authentication "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(mode, root, chain string, more []string) error {
	options := authentication.DefaultVerifyOptions()
	options.Roots = x509.NewCertPool()
	options.Roots.AppendCertsFromPEM(read(root))
	request := &http.Request{TLS: &tls.ConnectionState{PeerCertificates: certificates(read(chain))}}
	switch mode {
	case "client":
		return known(authentication.New(options, authentication.CommonNameUserConversion), request, more[0], more[1:])
	case "proxy":
		// what stands behind the verifier reads X-Remote-User
		headers := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: &user.DefaultInfo{Name: "alice"}}, true, nil
		})
		return known(authentication.NewVerifier(options, headers, sets.NewString(more[0])), request, "alice", nil)
	case "server":
		for _, name := range more[1:] {
			if err := handshake(options.Roots, chain, more[0], name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	return fmt.Errorf("no mode is called %s", mode)
}

func known(by authenticator.Request, request *http.Request, name string, groups []string) error {
	response, ok, err := by.AuthenticateRequest(request)
	if err != nil || !ok {
		return fmt.Errorf("not authenticated: %v", err)
	}
	got := response.User
	if got.GetName() != name || !slices.Equal(got.GetGroups(), groups) {
		return fmt.Errorf("it is %s in %v, not %s in %v", got.GetName(), got.GetGroups(), name, groups)
	}
	return nil
}

// As client-go's transport: the roots of the kubeconfig, and the name of the URL or its tls-server-name.
func handshake(roots *x509.CertPool, chain, key, name string) error {
	pair, err := tls.LoadX509KeyPair(chain, key)
	if err != nil {
		return err
	}
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		_ = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake()
	}()
	return tls.Client(client, &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}).Handshake()
}

func certificates(bytes []byte) (all []*x509.Certificate) {
	for block, rest := pem.Decode(bytes); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			panic(err)
		}
		all = append(all, certificate)
	}
	return all
}

func read(path string) []byte {
	bytes, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return bytes
}
