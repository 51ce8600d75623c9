// Judges leaves under constrained CAs: DIR/CA/{root.pem,ca.pem,N.leaf.pem} -> "CA N ok|no why".
import java.io.InputStream;
import java.nio.file.*;
import java.security.cert.*;
import java.util.*;

public class Judge {
    static CertificateFactory factory;

    static X509Certificate read(Path path) throws Exception {
        try (InputStream in = Files.newInputStream(path)) {
            return (X509Certificate) factory.generateCertificate(in);
        }
    }

    public static void main(String[] args) throws Exception {
        factory = CertificateFactory.getInstance("X.509");
        Date at = new Date(Long.parseLong(args[1]) * 1000);
        StringBuilder out = new StringBuilder();
        try (DirectoryStream<Path> cas = Files.newDirectoryStream(Path.of(args[0]))) {
            for (Path dir : cas) {
                try (DirectoryStream<Path> leaves = Files.newDirectoryStream(dir, "*.leaf.pem")) {
                    for (Path path : leaves) {
                        String name = path.getFileName().toString().replace(".leaf.pem", "");
                        out.append(dir.getFileName()).append(' ').append(name).append(' ');
                        try {
                            CertPath way = factory.generateCertPath(List.of(read(path), read(dir.resolve("ca.pem"))));
                            PKIXParameters rules = new PKIXParameters(Set.of(new TrustAnchor(read(dir.resolve("root.pem")), null)));
                            rules.setRevocationEnabled(false);
                            rules.setDate(at);
                            CertPathValidator.getInstance("PKIX").validate(way, rules);
                            out.append("ok\n");
                        } catch (Exception refused) {
                            out.append("no ").append(String.valueOf(refused.getMessage()).replace('\n', ' ')).append('\n');
                        }
                    }
                }
            }
        }
        System.out.print(out);
    }
}
