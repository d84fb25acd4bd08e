"""The best prediction that few labels allow: several learners, combined by what they say of labels they did not see."""
