-- A stem that is the word itself finds nothing more, and would hide from the
-- ranking that the word is a beginning.
create or replace function search_query(words text[]) returns tsquery language plpgsql immutable strict parallel safe as $$
declare
    word text;
    beginning tsquery;
    stem tsquery;
    all_words tsquery := '';
begin
    foreach word in array words loop
        word := quote_literal(left(trim(search_text(word)), 400)); -- a word of a query has at most 2046 bytes
        continue when word = '''''';
        beginning := to_tsquery('pg_catalog.simple', word || ':*');
        stem := to_tsquery('pg_catalog.english', word);
        if stem <> to_tsquery('pg_catalog.simple', word) then
            beginning := beginning || stem;
        end if;
        all_words := all_words && beginning;
    end loop;
    return all_words;
end $$;
