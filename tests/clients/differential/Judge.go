// Judges leaves under constrained CAs: DIR/CA/{root.pem,ca.pem,N.pem} -> "CA N ok|no why".
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func read(path string) (*x509.Certificate, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(bytes)
	return x509.ParseCertificate(block.Bytes)
}

func main() {
	dir := os.Args[1]
	var at int64
	fmt.Sscan(os.Args[2], &at)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	leaves, _ := filepath.Glob(filepath.Join(dir, "*", "*.leaf.pem"))
	for _, path := range leaves {
		ca := filepath.Base(filepath.Dir(path))
		name := strings.TrimSuffix(filepath.Base(path), ".leaf.pem")
		verdict := judge(filepath.Dir(path), path, time.Unix(at, 0))
		if verdict == nil {
			fmt.Fprintf(out, "%s %s ok\n", ca, name)
		} else {
			fmt.Fprintf(out, "%s %s no %s\n", ca, name, strings.ReplaceAll(verdict.Error(), "\n", " "))
		}
	}
}

func judge(dir, path string, at time.Time) error {
	root, err := read(filepath.Join(dir, "root.pem"))
	if err != nil {
		return err
	}
	ca, err := read(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}
	leaf, err := read(path)
	if err != nil {
		return err
	}
	roots, above := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	above.AddCert(ca)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}
