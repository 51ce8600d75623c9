-- Servers of schema 5 know an order's authorizations by their order_id alone. What they place while they run beside newer
-- ones is linked at the end of their transaction; newer ones have linked it themselves by then.
CREATE OR REPLACE FUNCTION acme_link_authorization() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO acme_order_authorizations (order_id, position, authorization_id)
        VALUES (NEW.order_id, NEW.position, NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'acme_authorizations_linked' AND tgrelid = to_regclass('acme_authorizations')) THEN
        CREATE CONSTRAINT TRIGGER acme_authorizations_linked AFTER INSERT ON acme_authorizations
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.order_id IS NOT NULL) EXECUTE FUNCTION acme_link_authorization();
    END IF;
END $$;
