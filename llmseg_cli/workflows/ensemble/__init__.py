"""`llmseg ensemble`: one mask a case from several folders of masks, and the rule by which."""
