// acme4j as its users' programs call it, for old-clients.sh; run from its source with the libraries of pom.xml:
//   Acme4j.java obtain OUT NAME…     by http-01 from the folder CHALLENGES: OUT.full.pem and OUT.key
//   Acme4j.java revoke CERT REASON   by the account
// DIRECTORY is the ACME directory, KEY the file of the account's key; javax.net.ssl.trustStore has the root.
import java.io.FileReader;
import java.io.FileWriter;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPair;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.shredzone.acme4j.AccountBuilder;
import org.shredzone.acme4j.Authorization;
import org.shredzone.acme4j.Certificate;
import org.shredzone.acme4j.Login;
import org.shredzone.acme4j.Order;
import org.shredzone.acme4j.RevocationReason;
import org.shredzone.acme4j.Session;
import org.shredzone.acme4j.Status;
import org.shredzone.acme4j.challenge.Http01Challenge;
import org.shredzone.acme4j.util.KeyPairUtils;

public class Acme4j {
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    public static void main(String[] words) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        Session session = new Session(URI.create(System.getenv("DIRECTORY")));
        session.setLocale(Locale.ENGLISH);
        Login login = new AccountBuilder().addContact("mailto:ops@chancery.test").agreeToTermsOfService()
            .useKeyPair(accountKey()).createLogin(session);
        switch (words[0]) {
            case "obtain" -> obtain(login, words[1], List.of(words).subList(2, words.length));
            case "revoke" -> revoke(login, words[1], Integer.parseInt(words[2]));
            default -> throw new IllegalArgumentException("Acme4j.java obtain OUT NAME… | revoke CERT REASON");
        }
    }

    private static KeyPair accountKey() throws IOException {
        Path path = Path.of(System.getenv("KEY"));
        if (Files.notExists(path)) {
            try (FileWriter to = new FileWriter(path.toFile())) {
                KeyPairUtils.writeKeyPair(KeyPairUtils.createECKeyPair("secp384r1"), to);
            }
        }
        try (FileReader from = new FileReader(path.toFile())) {
            return KeyPairUtils.readKeyPair(from);
        }
    }

    private static void obtain(Login login, String out, List<String> names) throws Exception {
        Order order = login.newOrder().domains(names).create();
        for (Authorization authorization : order.getAuthorizations()) {
            if (authorization.getStatus() != Status.VALID) {
                prove(authorization);
            }
        }
        order.waitUntilReady(PATIENCE);
        KeyPair key = KeyPairUtils.createKeyPair(2048);
        order.execute(key);
        if (order.waitForCompletion(PATIENCE) != Status.VALID) {
            throw new IllegalStateException("the order is " + order.getStatus() + ": " + order.getError());
        }
        try (FileWriter to = new FileWriter(out + ".key")) {
            KeyPairUtils.writeKeyPair(key, to);
        }
        try (FileWriter to = new FileWriter(out + ".full.pem")) {
            order.getCertificate().writeCertificate(to);
        }
    }

    private static void prove(Authorization authorization) throws Exception {
        Http01Challenge challenge = authorization.findChallenge(Http01Challenge.class).orElseThrow();
        Files.writeString(Path.of(System.getenv("CHALLENGES"), challenge.getToken()), challenge.getAuthorization());
        challenge.trigger();
        if (challenge.waitForCompletion(PATIENCE) != Status.VALID) {
            throw new IllegalStateException("the challenge is " + challenge.getStatus() + ": " + challenge.getError());
        }
    }

    private static void revoke(Login login, String path, int reason) throws Exception {
        try (var from = Files.newInputStream(Path.of(path))) {
            X509Certificate certificate = (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(from);
            Certificate.revoke(login, certificate, RevocationReason.code(reason));
        }
    }
}
