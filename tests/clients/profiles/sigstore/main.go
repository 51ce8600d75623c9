// A keyless signature with a timestamp instead of a log entry, verified as cosign does it, by sigstore-go.
//
//	sigstore FULCIO-CHAIN TSA-CHAIN ARTIFACT SIGNATURE TIMESTAMP IDENTITY
//
// A chain is leaf, issuer and root in PEM. The timestamp is an RFC 3161 answer over the signature.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	code, tsa := certificates(arguments[0]), certificates(arguments[1])
	artifact, signed, stamp := read(arguments[2]), read(arguments[3]), read(arguments[4])
	start, end := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: code[2], Intermediates: code[1:2], ValidityPeriodStart: start, ValidityPeriodEnd: end,
		}}, nil,
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Root: tsa[2], Intermediates: tsa[1:2], Leaf: tsa[0], ValidityPeriodStart: start, ValidityPeriodEnd: end,
		}}, nil)
	if err != nil {
		return err
	}
	entity, err := bundled(code[0], artifact, signed, stamp)
	if err != nil {
		return err
	}
	verifier, err := verify.NewVerifier(trusted, verify.WithSignedTimestamps(1))
	if err != nil {
		return err
	}
	identity, err := verify.NewShortCertificateIdentity("", ".*", arguments[5], "")
	if err != nil {
		return err
	}
	_, err = verifier.Verify(entity, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(artifact)), verify.WithCertificateIdentity(identity)))
	return err
}

func bundled(leaf *x509.Certificate, artifact, signed, stamp []byte) (*bundle.Bundle, error) {
	digest := sha256.Sum256(artifact)
	type object = map[string]any
	text, err := json.Marshal(object{
		"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": object{
			"certificate":               object{"rawBytes": leaf.Raw},
			"timestampVerificationData": object{"rfc3161Timestamps": []any{object{"signedTimestamp": stamp}}},
		},
		"messageSignature": object{
			"messageDigest": object{"algorithm": "SHA2_256", "digest": digest[:]},
			"signature":     signed,
		},
	})
	if err != nil {
		return nil, err
	}
	made := &bundle.Bundle{}
	return made, made.UnmarshalJSON(text)
}

func certificates(path string) (all []*x509.Certificate) {
	for block, rest := pem.Decode(read(path)); block != nil; block, rest = pem.Decode(rest) {
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
