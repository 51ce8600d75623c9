// A signature of the Notary Project, made and verified by its own library, with a timestamp (RFC 3161), and both
// chains asked for revocation by OCSP and CRL.
//
//	notation CHAIN KEY TSA-ROOT TSA-COMMAND…   CHAIN goes up to the root; the command answers a query on its stdin
package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/purpose"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/jws"
	notation "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/tspclient-go"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(chainFile, keyFile, tsaRootFile string, tsa []string) error {
	chain, err := notation.ReadCertificateFile(chainFile)
	if err != nil {
		return err
	}
	key, err := notation.ReadPrivateKeyFile(keyFile)
	if err != nil {
		return err
	}
	tsaRoots, err := notation.ReadCertificateFile(tsaRootFile)
	if err != nil {
		return err
	}
	signer, err := signature.NewLocalSigner(chain, key)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(tsaRoots[0])
	ofTime, err := validator(purpose.Timestamping)
	if err != nil {
		return err
	}
	envelope := jws.NewEnvelope()
	made, err := envelope.Sign(&signature.SignRequest{
		Payload:                signature.Payload{ContentType: "application/vnd.cncf.notary.payload.v1+json", Content: []byte(`{"targetArtifact":{}}`)},
		Signer:                 signer,
		SigningTime:            time.Now(),
		SigningScheme:          signature.SigningSchemeX509,
		SigningAgent:           "chancery",
		Timestamper:            command(tsa),
		TSARootCAs:             roots,
		TSARevocationValidator: ofTime,
	})
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	return verify(made, chain, roots)
}

func verify(made []byte, chain []*x509.Certificate, tsaRoots *x509.CertPool) error {
	envelope, err := jws.ParseEnvelope(made)
	if err != nil {
		return err
	}
	content, err := envelope.Verify()
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	// trustedIdentities are matched against C, ST and O, which must be there
	subject := content.SignerInfo.CertificateChain[0].Subject
	if len(subject.Country) == 0 || len(subject.Province) == 0 || len(subject.Organization) == 0 {
		return fmt.Errorf("the subject %s has no C, ST or O", subject)
	}
	if _, err := signature.VerifyAuthenticity(&content.SignerInfo, chain[len(chain)-1:]); err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	stamped := content.SignerInfo.UnsignedAttributes.TimestampSignature
	token, err := tspclient.ParseSignedToken(stamped)
	if err != nil {
		return fmt.Errorf("timestamp: %w", err)
	}
	path, err := token.Verify(context.Background(), x509.VerifyOptions{Roots: tsaRoots})
	if err != nil {
		return fmt.Errorf("timestamp: %w", err)
	}
	if err := notation.ValidateTimestampingCertChain(path); err != nil {
		return err
	}
	of, err := validator(purpose.CodeSigning)
	if err != nil {
		return err
	}
	results, err := of.ValidateContext(context.Background(), revocation.ValidateContextOptions{CertChain: content.SignerInfo.CertificateChain})
	if err != nil {
		return fmt.Errorf("revocation: %w", err)
	}
	// strict: unknown and unreachable are refused; a root has no status to ask for
	for i, one := range results {
		if one.Result != result.ResultOK && (i != len(results)-1 || one.Result != result.ResultNonRevokable) {
			return fmt.Errorf("revocation of certificate %d is %s: %v", i, one.Result, one.ServerResults)
		}
	}
	return nil
}

func validator(of purpose.Purpose) (revocation.Validator, error) {
	return revocation.NewWithOptions(revocation.Options{
		OCSPHTTPClient:   &http.Client{Timeout: 5 * time.Second},
		CertChainPurpose: of,
	})
}

type command []string

func (c command) Timestamp(ctx context.Context, request *tspclient.Request) (*tspclient.Response, error) {
	query, err := request.MarshalBinary()
	if err != nil {
		return nil, err
	}
	running := exec.CommandContext(ctx, c[0], c[1:]...)
	running.Stdin, running.Stderr = bytes.NewReader(query), os.Stderr
	answer, err := running.Output()
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(answer); block != nil {
		answer = block.Bytes
	}
	var response tspclient.Response
	if _, err := asn1.Unmarshal(answer, &response); err != nil {
		return nil, err
	}
	return &response, response.Validate(request)
}
